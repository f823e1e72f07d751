"""``lga models``: list, show, promote, rollback."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from workers.console import result_console
from workers.documents import Document, read_document, section
from workers.engines import EngineRecord
from workers.models.lineage import lineage, text
from workers.registry import METRICS_FILE, RECORD_FILE, TRAINING_FILE, Registry, Version
from workers.settings import ModelsListSettings, ModelsPromoteSettings, ModelsRollbackSettings, ModelsShowSettings
from workers.storage import open_store

_FIGURES = {"map": "mAP", "top1": "top-1", "focus": "focus"}


def list_models(settings: ModelsListSettings) -> int:
    """Print every version of every model, and the aliases that point at it."""
    registry = Registry(settings.registry)
    names = registry.names()
    if not names:
        print(f"{registry.uri} holds no model yet; `lga train` publishes one")
        return 0
    table = Table(title=f"models in {registry.uri}")
    for column in ("model", "aliases", *_FIGURES.values(), "engines"):
        table.add_column(column, justify="right" if column in _FIGURES.values() else "left")
    for name in names:
        for version in registry.versions(name):
            validation = section(read_document(open_store(version.uri), METRICS_FILE), "validation")
            figures = (_figure(validation, key) for key in _FIGURES)
            engines = ", ".join(record.target for record in registry.engines(version))
            table.add_row(str(version), ", ".join(_pointing(registry, version)), *figures, engines)
    result_console().print(table)
    return 0


def show_model(settings: ModelsShowSettings) -> int:
    """Print what one version is, how good it was on validation, where it came from, and its engines."""
    registry = Registry(settings.registry)
    version = registry.resolve(settings.model)
    table = Table(title=str(version), show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # Digests and folders are there to be copied: never cut off.
    for name, value in _facts(registry, version):
        table.add_row(name, value)
    records = registry.engines(version)
    for record in records:
        table.add_section()
        for name, value in _engine_facts(record):
            table.add_row(name, value)
    result_console().print(table)
    if not records:
        print(f"no engine yet; make one with: lga compile --model {version}")
    return 0


def promote_model(settings: ModelsPromoteSettings) -> int:
    """Point an alias at a version."""
    registry = Registry(settings.registry)
    version = registry.resolve(settings.model)
    before = registry.aliases(version.name).get(settings.alias)
    registry.promote(version, settings.alias)
    was = "" if before is None else f" (before: {version.name}:{before})"
    print(f"{version.name}@{settings.alias} is {version}{was}")
    return 0


def roll_back_model(settings: ModelsRollbackSettings) -> int:
    """Point an alias back at the version that it held before."""
    registry = Registry(settings.registry)
    before = registry.alias(settings.name, settings.alias).version
    version = registry.roll_back(settings.name, settings.alias)
    print(f"{settings.name}@{settings.alias} is {version} again (before: {settings.name}:{before})")
    return 0


def _facts(registry: Registry, version: Version) -> Iterator[tuple[str, str]]:
    """Name and value of everything that is known, the most useful first."""
    store = open_store(version.uri)
    record, training = read_document(store, RECORD_FILE), read_document(store, TRAINING_FILE)
    validation = section(read_document(store, METRICS_FILE), "validation")
    yield "files", version.uri
    for alias in _pointing(registry, version):
        move = registry.alias(version.name, alias).history[-1]
        yield f"@{alias}", f"since {move.at:%Y-%m-%d %H:%M} UTC, by {move.by}{', rolled back' if move.rollback else ''}"
    for name, *path in (
        ("backbone", "config", "backbone"),
        ("variant", "config", "variant"),
        ("input", "config", "image", "size_px"),
        ("classes", "config", "classes"),
        ("recipe", "recipe", "name"),
        ("weights", "weights_sha256"),
    ):
        yield name, text(record, *path)
    for key, name in _FIGURES.items():
        yield f"{name} on validation", _figure(validation, key)
    yield from lineage(training)


def _pointing(registry: Registry, version: Version) -> list[str]:
    """The aliases that point at a version; none at a bundle outside of the registry."""
    if not registry.holds(version):
        return []
    return [alias for alias, number in registry.aliases(version.name).items() if number == version.number]


def _engine_facts(record: EngineRecord) -> Iterator[tuple[str, str]]:
    yield "engine", record.folder
    yield "fingerprint", record.fingerprint
    yield "runs on", f"{record.target} {record.backend_version}{f', {record.gpu.name}' if record.gpu else ''}"
    parity = record.parity
    if parity is not None:
        yield "parity", f"top-1 {parity.top1_agreement:.4f} over {parity.images} photographs on {parity.device}"
        yield "  probability", f"at most {parity.max_probability_difference:.1e} off"
        if parity.max_heatmap_difference is not None:
            yield "  heatmap", f"at most {parity.max_heatmap_difference:.1e} off"
        yield "  PAM", f"at most {parity.max_pam_difference:.1e} of its maximum off"


def _figure(figures: Document, key: str) -> str:
    value = figures.get(key)
    return f"{value:.4f}" if isinstance(value, float | int) else "-"
