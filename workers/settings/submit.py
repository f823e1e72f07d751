"""Settings of `lga submit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import CliPositionalArg
from typing_extensions import override

from workers.settings.shared import CommandSettings


class SubmitSettings(CommandSettings):
    """Run another command as a Ray job and follow it to its end: lga submit score --input ... --address URL."""

    command: CliPositionalArg[tuple[str, ...]]
    """The command with its settings, as it would be typed after `lga`; `--` in front keeps its flags from being taken
    for these."""
    address: str = "http://127.0.0.1:8265"
    """Job server of the cluster: http(s)://HOST:PORT of Ray's dashboard."""
    submission_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] | None = None
    """Name of the job; without it one that follows from command, settings and code: the same is never run twice."""
    again: bool = False
    """Run a job that has ended once more, under the next name."""
    working_dir: Path | None = None
    """Folder to send along and to run in, for example this source tree; without it the cluster's own image is used."""
    image: str | None = None
    """Image to run driver and workers in, where the cluster's machines have podman."""
    cpus: Annotated[float, Field(ge=0)] | None = None
    """CPUs that Ray sets aside for the driver."""
    stop_on_interrupt: bool = False
    """Ctrl-C and SIGTERM stop the job too; without it they only end the following."""
    follow: bool = True
    """Show the job's log and wait for its end; its exit code is this command's."""

    @classmethod
    @override
    def arranged(cls, arguments: list[str]) -> list[str]:
        """Put the command behind `--`, wherever it stands: its flags are not ours.

        Our flags may stand in front of the command or behind it; `--config` and the settings of the log belong to us in
        front and to the command behind.
        """
        if "--" in arguments:
            return arguments
        own = {name for name in cls.model_fields if name not in CommandSettings.model_fields}
        ours: list[str] = []
        command: list[str] = []
        rest = iter(arguments)
        for word in rest:
            flag, _, value = word.partition("=")
            name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
            known = own if command else cls.model_fields.keys()
            if word in {"-h", "--help"} and not command:
                ours.append(word)
            elif flag.startswith("--") and name in known and name != "command":
                ours.append(word)
                if not value and cls.model_fields[name].annotation is not bool:
                    ours += [found for found in [next(rest, None)] if found is not None]
            else:
                command.append(word)
        return [*ours, "--", *command] if command else ours
