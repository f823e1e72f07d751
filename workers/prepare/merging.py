"""``lga prepare merge``: corrected labels and a manifest -> a new manifest, and what changed."""

from __future__ import annotations

from rich.table import Table

from lga_model.annotations import Manifest, write_manifest
from workers.console import result_console
from workers.errors import SettingsError
from workers.logs import get_log
from workers.manifest import load_manifest, manifest_kind, refuse_bad_rows, store_manifest
from workers.prepare.merge import Merged, merge
from workers.settings import PrepareMergeSettings
from workers.storage import split_uri

_NAMED = 8


def merge_labels(settings: PrepareMergeSettings) -> int:
    """Write the merged manifest; image paths become full names, so that it may lie anywhere."""
    kind = manifest_kind(settings.output)
    if _full_name(settings.output) in {_full_name(settings.manifest), _full_name(settings.labels)}:
        raise SettingsError(f"--output {settings.output} would replace what it is made from; give it a name of its own")
    base, labels = _load(settings.manifest), _load(settings.labels)
    merged = merge(base.annotations, labels.annotations)
    if merged.conflicts:
        shown = "; ".join(str(conflict) for conflict in merged.conflicts[:_NAMED])
        more = f"; and {len(merged.conflicts) - _NAMED} more" if len(merged.conflicts) > _NAMED else ""
        raise SettingsError(
            f"{len(merged.conflicts)} images have two labels or two splits in one file: {shown}{more}. "
            "Keep the right one of each; nothing was written"
        )
    uri = store_manifest(settings.output, write_manifest(merged.annotations, kind))
    get_log().info("prepare.manifest_merged", manifest=uri, rows=len(merged.annotations))
    _show(merged, uri)
    return 0


def _full_name(uri: str) -> str:
    store, name = split_uri(uri)
    return store.uri(name)


def _load(uri: str) -> Manifest:
    manifest = load_manifest(uri)
    refuse_bad_rows(manifest, uri, remedy="Mend them first")
    return manifest


def _show(merged: Merged, uri: str) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("manifest", uri)
    table.add_row("rows", str(len(merged.annotations)))
    for title, entries in (
        ("corrected", [f"{each.image}: {' -> '.join(each.said)}" for each in merged.corrected]),
        ("new images", merged.added),
        ("duplicates left out", merged.duplicates),
    ):
        table.add_row(title, str(len(entries)))
        for entry in entries[:_NAMED]:
            table.add_row("", entry)
    result_console().print(table)
