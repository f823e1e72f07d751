"""From a run's files to its page: record and shards in, photographs beside them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from workers.documents import Document, read_document, section
from workers.errors import ObjectMissing, SettingsError, StorageError
from workers.registry import METRICS_FILE, Registry
from workers.report.cards import Card
from workers.report.page import Page, fitted
from workers.report.pictures import THUMBNAIL_PX, read_pictures, thumbnail
from workers.report.run_facts import EMPTY, open_run_tags
from workers.report.run_page import run_page
from workers.settings import ReportSettings
from workers.storage import S3Store, Store, open_store
from workers.tags import list_shards, local_files

_PHOTOGRAPHS = 480


def run_report(settings: ReportSettings, output_uri: str) -> Page:
    """The page about one run under an output; without ``--run`` the newest.

    Raises:
        SettingsError: If there is no such run.
        StorageError: If its files cannot be read.
    """
    output = open_store(output_uri)
    run_id = settings.run or _newest_run(output)
    key = f"runs/{run_id}/run.json"
    record = read_document(output, key)
    if not record:
        known = ", ".join(_runs(output)) or "none"
        raise SettingsError(f"there is no run {run_id} under {output.uri()} (runs there: {known})")
    facts, chosen = EMPTY, []
    with tempfile.TemporaryDirectory(prefix="lga-report-") as folder:
        if files := local_files(output, Path(folder), run_id):
            with open_run_tags(files) as tags:
                facts = tags.facts()
                wanted = _PHOTOGRAPHS if settings.max_photographs is None else settings.max_photographs
                chosen = tags.choose(wanted)
    store = _photograph_store(settings.photographs or str(record.get("input", "")))
    reference, metrics = _validation(record, settings.registry)
    sources = (
        ("record", output.uri(key)),
        *((("validation", metrics),) if reference else ()),
        ("tags", f"{output.uri(f'tags/run={run_id}/')} ({len(files)} shards)"),
        ("photographs", store.root),
    )

    def page(cards: Sequence[Card], left_out: int) -> Page:
        return run_page({"run_id": run_id, **record}, facts, reference, cards, left_out, sources)

    return fitted(page, _with_photographs(chosen, store), len(chosen), round(settings.max_mb * 1e6))


def _validation(record: Document, registry: str) -> tuple[Document, str]:
    """What the run's model said about its validation photographs, and the file that tells; nothing when none does."""
    try:
        version = Registry(registry).resolve(f"{record.get('model')}:{record.get('version')}")
        store = open_store(version.uri)
        return section(read_document(store, METRICS_FILE), "distribution"), store.uri(METRICS_FILE)
    except (SettingsError, StorageError):
        return {}, ""


def _with_photographs(cards: Sequence[Card], store: Store) -> Iterator[Card]:
    pictures = read_pictures([card.key for card in cards], store.get, THUMBNAIL_PX)
    for card, picture in zip(cards, pictures, strict=True):
        if picture.image is None:
            yield replace(card, trouble=picture.trouble)
            continue
        changed = _changed(card, picture.size_bytes, picture.token if isinstance(store, S3Store) else None)
        note = (("note", "the object was overwritten after it was tagged"),) if changed else ()
        yield replace(card, photograph=thumbnail(picture.image), facts=(*card.facts, *note))


def _changed(card: Card, size_bytes: int, etag: str | None) -> bool:
    """Whether the object that was read is another one than the tags are about."""
    known = dict(card.facts)
    return known.get("bytes") not in (None, str(size_bytes)) or (etag is not None and known.get("etag") != etag)


def _photograph_store(uri: str) -> Store:
    """The store that speaks of the keys of the tags: the whole bucket, or the folder that was named."""
    store = open_store(uri)
    return S3Store(store.bucket) if isinstance(store, S3Store) else store


def _runs(output: Store) -> list[str]:
    """Runs that have a record, the oldest first."""
    try:
        found = [
            (info.last_modified, info.key.split("/")[1])
            for info in output.list("runs/")
            if info.key.endswith("/run.json")
        ]
    except ObjectMissing as error:
        if output.root.startswith("s3://"):
            raise
        raise SettingsError(f"there is no folder {output.uri()}; check --output") from error
    return [run_id for _, run_id in sorted(found)]


def _newest_run(output: Store) -> str:
    """The newest run that wrote tags: a night without anything new has no photographs to show."""
    runs = _runs(output)
    if not runs:
        raise SettingsError(f"there are no runs under {output.uri()}; check --output, or run `lga score` first")
    return next((run_id for run_id in reversed(runs) if any(list_shards(output, run_id))), runs[-1])
