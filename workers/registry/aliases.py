"""A name that points at one version of a model and moves: every move is kept, and a move can be taken back.

Pure decisions: what an alias becomes. ``Registry`` stores the outcome by compare-and-swap.
"""

from __future__ import annotations

import os
import platform
import pwd
from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from workers.errors import SettingsError


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Move(_Record):
    """One move of an alias."""

    version: int
    """Where it went."""
    at: datetime
    by: str
    """``user@host`` of the process that moved it."""
    rollback: bool = False
    """Whether it went back to the version it held before."""


class Alias(_Record):
    """An alias with its history; the last move is where it points."""

    format: Literal[1] = 1
    version: int
    """Where it points now."""
    history: tuple[Move, ...]
    """Every move, the oldest first."""

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Self:
        """Read an alias as it is stored; ``uri`` is for the message.

        Raises:
            SettingsError: If it is damaged or from another release.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "file"
            raise SettingsError(f"{uri} is not an alias of this release: {field}: {first['msg']}") from error

    def to_json(self) -> bytes:
        """The content of the file."""
        return (self.model_dump_json(indent=2) + "\n").encode()

    @property
    def previous(self) -> int | None:
        """The version that it held before the present one, or None. Rolling back again goes further back."""
        held = self.held
        return held[-2] if len(held) > 1 else None

    @property
    def held(self) -> list[int]:
        """The versions that it came through, without those that were rolled back; a rollback goes to one of them."""
        held: list[int] = []
        for move in self.history:
            if move.rollback:
                del held[-1:]
            else:
                held.append(move.version)
        return held

    @model_validator(mode="after")
    def _agrees_with_history(self) -> Self:
        if self.held[-1:] != [self.version]:
            raise ValueError("version is not where the history ends")
        return self


def promoted(alias: Alias | None, version: int) -> Alias:
    """The alias after a promotion; the same one when it points there already."""
    if alias is not None and alias.version == version:
        return alias
    history = () if alias is None else alias.history
    return Alias(version=version, history=(*history, _move(version)))


def rolled_back(alias: Alias) -> Alias | None:
    """The alias after it went back to the version it held before; None when there is none."""
    if alias.previous is None:
        return None
    return Alias(version=alias.previous, history=(*alias.history, _move(alias.previous, rollback=True)))


def _move(version: int, *, rollback: bool = False) -> Move:
    return Move(version=version, at=datetime.now(UTC), by=_who(), rollback=rollback)


def _who() -> str:
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # A container may run under a number that has no name.
        user = str(os.getuid())
    return f"{user}@{platform.node()}"
