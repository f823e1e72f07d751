"""What models, versions and aliases are called, and under which keys they lie."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workers.errors import SettingsError

WEIGHTS_FILE = "model.safetensors"
RECORD_FILE = "model.json"
METRICS_FILE = "metrics.json"
TRAINING_FILE = "training.json"

_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
_ALIAS = r"[a-z][a-z0-9-]{0,31}"
REFERENCE = re.compile(rf"(?P<name>{_NAME})(:(?P<number>[0-9]{{1,9}})|@(?P<alias>{_ALIAS}))")
VERSION_KEY = re.compile(rf"(?P<name>{_NAME})/versions/(?P<number>[0-9]{{4,9}})/(?P<file>[a-z.]+)")
ANY_KEY = re.compile(rf"(?P<name>{_NAME})/versions/(?P<number>[0-9]{{4,9}})/.+")
VERSION_URI = re.compile(rf"(?:.*/)?(?P<name>{_NAME})/versions/(?P<number>[0-9]{{4,9}})")
ALIAS_KEY = re.compile(rf"(?P<name>{_NAME})/aliases/(?P<alias>{_ALIAS})\.json")


@dataclass(frozen=True, kw_only=True)
class Version:
    """One published model, or a bundle that no registry numbered."""

    name: str
    number: int
    """From 1; 0 for a bundle outside of a registry."""
    uri: str
    """Folder of its files."""

    def __str__(self) -> str:
        return f"{self.name}:{self.number}" if self.number else self.uri


def is_name(text: str) -> bool:
    """Whether a model can have this name."""
    return re.fullmatch(_NAME, text) is not None


def versions_prefix(name: str) -> str:
    """What the keys of all versions of a model begin with.

    Raises:
        SettingsError: If no model can have this name.
    """
    if not is_name(name):
        raise SettingsError(
            f"{name!r} cannot name a model: up to 63 of a-z, 0-9, '.', '_', '-', first a letter or digit"
        )
    return f"{name}/versions/"


def alias_key(name: str, alias: str) -> str:
    """Where an alias lies. Errors as ``versions_prefix``, also for an alias that cannot be one."""
    versions_prefix(name)
    if not re.fullmatch(_ALIAS, alias):
        raise SettingsError(f"{alias!r} cannot be an alias: up to 32 of a-z, 0-9, '-', first a letter")
    return f"{name}/aliases/{alias}.json"
