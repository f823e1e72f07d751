"""Every setting of every command as Markdown: ``python -m workers.settings.reference > docs/settings.md``."""

from __future__ import annotations

import textwrap
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from workers.settings.commands import COMMANDS
from workers.settings.shared import CommandSettings

_HEAD = """\
# Settings

Made from the settings classes by `python -m workers.settings.reference > docs/settings.md`; a test holds it to them.

A setting is given as a flag (`--shard-rows 128`), as an environment variable (`LGA_SHARD_ROWS=128`), or as a line of
the YAML file that `--config` or `LGA_CONFIG` names; the first of these that has it counts. What takes several values is
a flag that is repeated, a variable with commas (`LGA_SUFFIX=.jpg,.png`, `LGA_MAX_REASON_RATE=denied=0.01,timeout=0.05`)
or with JSON in it, a list or names with values in the file. Of names with values each name counts for itself: those of
the variable and the file stay beside those of the flag. An empty text is the same as no setting. At the top level of
the file a setting serves every command that knows it; below the name of a command it serves that one alone:

```yaml
registry: s3://models/registry
score:
  shard_rows: 4096
```

S3 is reached through the standard AWS chain, which is not among these settings: `AWS_*` variables, profiles, roles,
and `AWS_ENDPOINT_URL_S3` for other servers than Amazon's.

## Every command
"""


def settings_reference() -> str:
    """The whole document."""
    parts = [_HEAD, _table(CommandSettings.model_fields)]
    for command, settings in COMMANDS.items():
        own = {name: field for name, field in settings.model_fields.items() if name not in CommandSettings.model_fields}
        summary = textwrap.fill(" ".join((settings.__doc__ or "").split()), 118, break_on_hyphens=False)
        parts += [f"## lga {command}\n", f"{summary}\n"]
        if own:
            parts.append(_table(own))
    return "\n".join(parts)


def _table(fields: dict[str, FieldInfo]) -> str:
    rows = ["| setting | takes | default | |", "|---|---|---|---|"]
    for name, field in fields.items():
        cells = (_takes(field.annotation), _default(field), field.description)
        rows.append(f"| {_flag(name, field)} | {' | '.join(map(_cell, cells))} |")
    return "\n".join(rows) + "\n"


def _flag(name: str, field: FieldInfo) -> str:
    """As it is typed; a positional argument in capitals."""
    positional = any(getattr(mark, "__name__", "") == "_CliPositionalArg" for mark in field.metadata)
    return f"`{name.upper()}`" if positional else f"`--{name.replace('_', '-')}`"


def _takes(annotation: Any) -> str:  # noqa: ANN401 - any type
    """What a value looks like, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_takes(each) for each in arguments if each is not NoneType)
    if origin is tuple:
        several = "several" if arguments[-1] is ... else str(len(arguments))
        return f"{several}: {_takes(arguments[0])}"
    if origin is dict:
        return f"several: NAME={_takes(arguments[1])}"
    if hasattr(annotation, "__metadata__"):
        return _takes(arguments[0])
    return {str: "text", int: "number", float: "decimal", bool: "yes or no"}.get(annotation, "path")


def _default(field: FieldInfo) -> str:
    """As it would be typed; nothing when the description tells."""
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{' '.join(map(str, value))}`" if isinstance(value, tuple) else f"`{value}`"


def _cell(text: str | None) -> str:
    """Text that ends no cell of a table."""
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    print(settings_reference(), end="")
