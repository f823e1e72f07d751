"""From flags, variables and a YAML file to the settings of one command."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import textwrap
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_settings import CliSettingsSource
from pydantic_settings import SettingsError as UnreadableError
from typing_extensions import override

from workers.errors import SettingsError
from workers.settings.commands import COMMANDS
from workers.settings.shared import CommandSettings, yaml_values

Settings = TypeVar("Settings", bound=CommandSettings)


def read_settings(settings_class: type[Settings], command: str, arguments: list[str]) -> Settings:
    """The settings of one command.

    Args:
        settings_class: The class of the command.
        command: The words of the command, for the help text and the YAML section, for example ``models promote``.
        arguments: What follows the command on the command line.

    Raises:
        SettingsError: Names each wrong setting, the value and the reason.
        SystemExit: After ``--help`` (0), or a flag that argparse does not know (2).
    """
    arguments = settings_class.arranged(arguments)
    token = yaml_values.set(_read_yaml(settings_class, command, arguments))
    try:
        source: CliSettingsSource[Any] = CliSettingsSource(
            settings_class,
            cli_prog_name=f"lga {command}",
            cli_parse_args=arguments,
            formatter_class=_Help,
        )
        return settings_class(_cli_settings_source=source)
    except ValidationError as error:
        raise SettingsError(_tell(error, command)) from error
    except UnreadableError as error:
        raise SettingsError(f"{error}. See `lga {command} --help`") from error
    finally:
        yaml_values.reset(token)


_WIDEST_CHOICES = 40


class _Loader(yaml.SafeLoader):
    """YAML in which a value is text, as in a flag: whether it is a number or a date, the setting knows."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in yaml's own classes
        first: [(tag, pattern) for tag, pattern in found if tag.endswith((":null", ":merge"))]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Help(argparse.RawDescriptionHelpFormatter):
    """Argparse's help with the flags in a narrower column and all text wrapped, so that it fits a terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)
        self._in_usage = False

    @override
    def _format_usage(self, *args: Any, **kwargs: Any) -> str:
        self._in_usage = True
        try:
            return super()._format_usage(*args, **kwargs)
        finally:
            self._in_usage = False

    @override
    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        shown = super()._format_args(action, default_metavar)
        # The usage cannot wrap a list of choices; below it each flag is shown with all of them.
        if self._in_usage and len(shown) > _WIDEST_CHOICES:
            return f"{shown[:_WIDEST_CHOICES].rpartition(',')[0]},...}}"
        return shown

    @override
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return textwrap.fill(" ".join(text.split()), width, initial_indent=indent, subsequent_indent=indent)

    @override
    def _get_help_string(self, action: argparse.Action) -> str | None:
        # A default of None means "decided elsewhere", which the sentence before it tells better.
        return (action.help or "").replace(" (default: None)", "")


def _read_yaml(settings_class: type[CommandSettings], command: str, arguments: list[str]) -> dict[str, Any]:
    path = _config_path(arguments)
    if path is None:
        return {}
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = yaml.load(text, _Loader) or {}  # noqa: S506 - a kind of SafeLoader
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"the settings file {path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"the settings file {path} must hold settings by name, not a {type(content).__name__}")
    content = _given(content)
    names = known_settings()
    unknown = sorted(set(content) - names - _sections())
    if unknown:
        raise SettingsError(f"the settings file {path} has settings that no command knows: {', '.join(unknown)}")
    # The section of `lga train` has the name of a setting of others: how many photographs to train on.
    sections = {
        key: value or {}
        for key, value in content.items()
        if key in _sections() and (not value or isinstance(value, dict) or key not in names)
    }
    section = sections.get(_underscored(command), {})
    if not isinstance(section, dict):
        raise SettingsError(f"section {command!r} of {path} must hold settings by name")
    fields = settings_class.model_fields
    shared = {key: value for key, value in content.items() if key in fields and key not in sections}
    return shared | _given(section)


def _given(settings: dict[object, Any]) -> dict[str, Any]:
    """The settings that have a value, by their names: an empty text is none, as it is in a variable."""
    return {_underscored(key): value for key, value in settings.items() if value != ""}


def _underscored(name: object) -> str:
    return str(name).replace("-", "_").replace(" ", "_")


def _config_path(arguments: list[str]) -> str | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(argparse.ArgumentError, SystemExit):
        found, _ = parser.parse_known_args(arguments)
        if found.config:
            return str(found.config)
    return os.environ.get("LGA_CONFIG") or None


def settings_of_environment() -> dict[str, str]:
    """The ``LGA_*`` variables that hold settings, of whatever command."""
    names = {f"LGA_{name.upper()}" for name in known_settings()}
    return {name: value for name, value in sorted(os.environ.items()) if name in names and value}


def known_settings() -> set[str]:
    """The names of all settings of all commands."""
    return {name for settings_class in COMMANDS.values() for name in settings_class.model_fields}


def _sections() -> set[str]:
    return {_underscored(command) for command in COMMANDS}


def _tell(error: ValidationError, command: str) -> str:
    """One line for each wrong setting, in the words of the command line."""
    lines = []
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"]) or "settings"
        flag = f"--{name.replace('_', '-')}"
        if problem["type"] == "missing":
            lines.append(f"{flag} is needed (or LGA_{name.upper()})")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{name} is not a setting of `lga {command}`")
        else:
            lines.append(f"{flag} {problem['input']!r}: {problem['msg']}")
    return "; ".join(lines) + f". See `lga {command} --help`"
