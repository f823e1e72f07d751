"""What is sent to the job server, and under which name: the same command, settings and code give the same name."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.errors import SettingsError
from workers.settings import COMMANDS, SubmitSettings, read_settings

EXCLUDES = ("**/.git", "**/.venv", "**/__pycache__", "**/demo-work", "**/.*_cache")
_LIMIT_BYTES = 500 * 1024 * 1024  # Ray's own is 512 MiB, and it tells only after packing.
_CONFIG = "LGA_CONFIG"
_LOGS = {"LGA_LOG_FORMAT", "LGA_LOG_LEVEL"}
"""What a job does is the same however it tells of it."""
_STOP_WAIT_S = 30
"""Time that a job has to end in order before Ray kills it: its own default of 3 s is too short for a checkpoint."""
_USER = re.compile(r"://[^/@\s]+@")


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A job as Ray takes it."""

    name: str
    entrypoint: str
    runtime_env: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def job_request(settings: SubmitSettings, variables: dict[str, str]) -> JobRequest:
    """Check the command as the cluster would, and describe the job.

    Args:
        settings: Of ``lga submit``.
        variables: ``LGA_*`` settings of this environment; those of the command travel. Nothing else does: credentials
            are the cluster's own, and the job server shows the environment of a job to everybody.

    Raises:
        SettingsError: If the command or one of its settings is wrong or holds a password, or the folder cannot be
            sent.
    """
    command = list(settings.command)
    name = _checked(command)
    variables = _travelling(name, command, variables)
    _refuse_passwords(command, variables)
    if settings.image is not None and settings.working_dir is not None:
        raise SettingsError(
            "--image and --working-dir cannot be had together: Ray runs a container with what is in it. "
            "Build the source into the image, or leave the image out"
        )
    runtime_env: dict[str, Any] = {"env_vars": variables | {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_WAIT_S)}}
    code = settings.image or ""
    if settings.working_dir is not None:
        runtime_env |= {"working_dir": str(settings.working_dir), "excludes": list(EXCLUDES)}
        code += _digest_of_folder(settings.working_dir)
    if settings.image is not None:
        runtime_env["image_uri"] = settings.image
    work = {variable: value for variable, value in variables.items() if variable not in _LOGS}
    digest = hashlib.sha256(json.dumps([command, work, code]).encode()).hexdigest()
    return JobRequest(
        name=settings.submission_id or f"lga-{command[0]}-{digest[:12]}",
        entrypoint=shlex.join(["python", "-m", "workers", *command]),
        runtime_env=runtime_env,
        metadata={"lga_command": command[0]},
    )


def _checked(command: list[str]) -> str:
    """The command's name. A wrong setting is told here and now, not by a job that fails minutes later."""
    for words in (2, 1):
        name = " ".join(command[:words])
        if name in COMMANDS and len(command) >= words:
            break
    else:
        raise SettingsError(f"there is no command {command[0]!r} to submit; `lga --help` lists them")
    if name in {"submit", "demo"}:
        raise SettingsError(f"`lga {name}` cannot be submitted: it starts what it needs on this machine")
    if not _names_a_file(command):
        read_settings(COMMANDS[name], name, command[words:])
    return name


def _names_a_file(command: list[str]) -> bool:
    """Whether the command has a file of settings: one that lies where the job runs."""
    return any(word.partition("=")[0] == "--config" for word in command)


def _travelling(name: str, command: list[str], variables: dict[str, str]) -> dict[str, str]:
    """The variables that the job is told: the settings of its command.

    Raises:
        SettingsError: If the job would lack settings that were read here.
    """
    if _CONFIG in variables and not _names_a_file(command):
        raise SettingsError(
            f"{_CONFIG}={variables[_CONFIG]} is a file of this machine, which the job would not read: name one that "
            "lies where the job runs with --config behind the command, or give the settings otherwise and unset it"
        )
    names = {f"LGA_{field.upper()}" for field in COMMANDS[name].model_fields} - {_CONFIG}
    found = {variable: value for variable, value in variables.items() if variable in names}
    if "ray_address" in COMMANDS[name].model_fields:
        found = {"LGA_RAY_ADDRESS": "auto"} | found  # The cluster of the job, and not one of its own.
    return found


def _refuse_passwords(command: Sequence[str], variables: Mapping[str, str]) -> None:
    """Stop at an address with a user in it. What is told names the setting, and not the address."""
    found = [name for name, value in variables.items() if _USER.search(value)]
    for number, word in enumerate(command):
        if _USER.search(word):
            flag, mark, _ = word.partition("=")
            found.append(flag if mark and flag.startswith("-") else command[number - 1])
    if found:
        raise SettingsError(
            f"{', '.join(found)}: the address holds a user or a password, and the job server shows words and "
            "environment of a job to everybody; give an address without it, or set it where the job runs"
        )


def _digest_of_folder(folder: Path) -> str:
    if not folder.is_dir():
        raise SettingsError(f"--working-dir {folder}: there is no such folder")
    digest, size_bytes = hashlib.sha256(), 0
    for path in _sent(folder):
        size_bytes += path.stat().st_size
        if size_bytes > _LIMIT_BYTES:
            raise SettingsError(f"--working-dir {folder} is larger than 500 MB; send the source alone, or use --image")
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _sent(folder: Path) -> Iterator[Path]:
    left_out = {pattern.removeprefix("**/") for pattern in EXCLUDES}
    for path in sorted(folder.iterdir()):
        if not any(path.match(pattern) for pattern in left_out):
            if path.is_dir() and not path.is_symlink():
                yield from _sent(path)
            elif path.is_file():
                yield path
