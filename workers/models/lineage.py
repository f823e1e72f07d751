"""Where a version comes from, as rows of a table: data, parent, settings, code, and what the gate said.

``training.json`` comes from storage, maybe from another release: not trusted to hold anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from workers.documents import inside
from workers.settings import TrainSettings

_NOT_NEWS = {"manifest", "name", "registry", "start_from", "seed"}
"""Settings that have a row of their own, or say where something lies."""


def lineage(training: object) -> Iterator[tuple[str, str]]:
    """Name and value of everything that ``training.json`` tells."""
    yield "trained on", text(training, "manifest", "uri")
    yield "manifest", text(training, "manifest", "digest")
    rows = [text(training, "manifest", f"{split}_rows") for split in ("train", "val")]
    yield "photographs", f"{rows[0]} to learn from, {rows[1]} to choose by"
    yield "parent", _named(training, ("parent", "model"), ("parent", "uri"))
    yield "pretrained weights", _named(training, ("pretrained", "source"), ("pretrained", "sha256"))
    yield "run", _named(training, ("run",), ("checkpoint",))
    yield "seed", text(training, "seed")
    yield "settings", _settings(inside(training, "settings"))
    yield "code", _code(training)
    yield from _gate(inside(training, "gate"))


def text(document: object, *path: str) -> str:
    """A value deep in a document, as text; lists with their length."""
    value = inside(document, *path)
    if isinstance(value, list):
        return f"{len(value)}: {', '.join(map(str, value))}"
    return "-" if value is None else str(value)


def _named(training: object, name: tuple[str, ...], detail: tuple[str, ...]) -> str:
    """A name with what says exactly which one."""
    shown, exactly = text(training, *name), text(training, *detail)
    return shown if shown == "-" or exactly in ("-", shown) else f"{shown} ({exactly})"


def _settings(settings: object) -> str:
    """Those that differ from what this release takes by itself."""
    if not isinstance(settings, dict):
        return "-"
    usual = {name: field.get_default(call_default_factory=True) for name, field in TrainSettings.model_fields.items()}
    given = [
        f"{name.replace('_', '-')}={value}"
        for name, value in settings.items()
        if name not in _NOT_NEWS and value != usual.get(name)
    ]
    return ", ".join(given) or "all by default"


def _code(training: object) -> str:
    parts = [text(training, "versions", "lga-tagger")]
    if (commit := inside(training, "commit", "sha1")) is not None:
        parts.append(f"commit {commit}" + (", changed since" if inside(training, "commit", "dirty") else ""))
    return ", ".join([*parts, f"method {text(training, 'method_sha256')[:12]}"])


def _gate(gate: object) -> Iterator[tuple[str, str]]:
    """What the gate said, and every figure that it looked at."""
    checks = inside(gate, "checks")
    if not isinstance(checks, list) or not checks:
        yield "gate", "off" if checks == [] else "-"
        return
    against = inside(gate, "against")
    rival = "no production model to beat" if against is None else f"against {against}"
    yield "gate", f"{'passed' if inside(gate, 'passed') else 'refused'}, {rival}, {text(gate, 'images')} photographs"
    for check in checks:
        before = "" if inside(check, "production") is None else f"{_number(inside(check, 'production'))} -> "
        yield (
            f"  {text(check, 'name')}",
            f"{before}{_number(inside(check, 'candidate'))}; wanted: {text(check, 'wanted')}",
        )


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float | int) else "-"
