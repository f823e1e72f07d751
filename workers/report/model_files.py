"""Everything that was written about one version: the bundle's files, its engines, and an evaluation when given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.documents import Document, figures, inside, read_document, section
from workers.engines import RECORD_FILE as ENGINE_RECORD_FILE
from workers.errors import SettingsError
from workers.registry import METRICS_FILE, RECORD_FILE, TRAINING_FILE, Registry, Version
from workers.storage import open_store, split_uri


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """One version as its files describe it. A file of an older release lacks some of it."""

    version: Version
    record: Document
    """``model.json``: configuration, recipe, calibration."""
    metrics: Document
    training: Document
    engines: tuple[Document, ...]
    """Each ``engine.json``."""
    evaluation: Document
    """What ``lga evaluate`` wrote; empty when none was given."""
    aliases: tuple[str, ...]

    @property
    def name(self) -> str:
        """As people write it."""
        return str(self.version)

    @property
    def classes(self) -> list[str]:
        """Action names in the model's order."""
        found = inside(self.record, "config", "classes")
        return [str(name) for name in found] if isinstance(found, list) else []

    @property
    def validation(self) -> Document:
        """Figures of the published epoch on the validation split."""
        return section(self.metrics, "validation")

    @property
    def evaluated_split(self) -> str:
        """Name of the split of the evaluation."""
        return str(self.evaluation.get("split", "evaluation"))

    @property
    def sources(self) -> list[tuple[str, str]]:
        """The files, for the foot of a page."""
        return [(self.name, f"{self.version.uri}/ ({RECORD_FILE}, {METRICS_FILE}, {TRAINING_FILE}, engines)")]

    def average_precision(self) -> tuple[str, dict[str, float]]:
        """AP of each class, of the evaluation where there is one: name of the split, and AP by class."""
        if evaluated := figures(self.evaluation, "average_precision"):
            return self.evaluated_split, evaluated
        return "val", figures(self.validation, "average_precision")


def read_model(registry: Registry, reference: str, evaluations: Sequence[Document]) -> ModelFiles:
    """Read the files of a version; nothing of them is checked but that they are JSON.

    Raises:
        SettingsError: If there is no such model.
        StorageError: If it cannot be read.
    """
    version = registry.resolve(reference)
    store = open_store(version.uri)
    keys = sorted(info.key for info in store.list("engines/") if info.key.endswith(f"/{ENGINE_RECORD_FILE}"))
    pointing = registry.aliases(version.name).items() if registry.holds(version) else ()
    return ModelFiles(
        version=version,
        record=read_document(store, RECORD_FILE),
        metrics=read_document(store, METRICS_FILE),
        training=read_document(store, TRAINING_FILE),
        engines=tuple(read_document(store, key) for key in keys),
        evaluation=next((each for each in evaluations if _is_of(each, version)), {}),
        aliases=tuple(alias for alias, number in pointing if number == version.number),
    )


def read_evaluations(uris: Sequence[str]) -> list[Document]:
    """The files that ``--evaluation`` names.

    Raises:
        SettingsError: If one is not there, or is not what ``lga evaluate`` writes.
    """
    documents = []
    for uri in uris:
        store, name = split_uri(uri)
        document = read_document(store, name)
        if "average_precision" not in document:
            raise SettingsError(f"{uri} is not a file that `lga evaluate --json-output` wrote")
        documents.append(document)
    return documents


def check_used(evaluations: Sequence[Document], models: Sequence[ModelFiles]) -> None:
    """See that each evaluation belongs to a model of the page, and each model has one at the most.

    Raises:
        SettingsError: If not: figures would silently be missing.
    """
    for files in models:
        if sum(_is_of(evaluation, files.version) for evaluation in evaluations) > 1:
            raise SettingsError(f"--evaluation holds figures of {files.name} twice; give one file for each model")
    for evaluation in evaluations:
        if not any(_is_of(evaluation, files.version) for files in models):
            measured = f"{evaluation.get('model')}:{evaluation.get('version')}"
            names = " and ".join(files.name for files in models)
            raise SettingsError(f"--evaluation holds figures of {measured}, but the report is about {names}")


def _is_of(evaluation: Document, version: Version) -> bool:
    return (evaluation.get("model"), evaluation.get("version")) == (version.name, version.number)
