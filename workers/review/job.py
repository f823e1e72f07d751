"""``lga review``: rank the tags, choose, write the manifest of links and the sheet."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.table import Table

from lga_model.annotations import Annotation, write_manifest
from workers.console import result_console
from workers.errors import SettingsError
from workers.logs import get_log
from workers.manifest import manifest_kind, store_manifest
from workers.review.choose import Pick, Tagged, choose
from workers.review.ranking import rank
from workers.review.sheet import sheet
from workers.settings import ReviewSettings
from workers.storage import S3Store, Store, open_store, split_uri
from workers.tags import local_files

_SPARE = 20
"""Photographs that are ranked for each that is wanted: most may turn out to be copies."""


def review(settings: ReviewSettings) -> int:
    """Pick the photographs and say how many for which reason."""
    kind = manifest_kind(settings.manifest)
    output = open_store(settings.output)
    with tempfile.TemporaryDirectory(prefix="lga-review-") as folder:
        files = local_files(output, Path(folder))
        if not files:
            raise SettingsError(f"there are no tags under {output.uri()}; check --output, or run `lga score` first")
        ranked = rank(files, settings.limit * _SPARE, settings.engine)
    picks = choose(ranked, settings.limit)
    if not picks:
        if settings.engine is not None:
            raise SettingsError(
                f"--engine {settings.engine}: no photograph under {output.uri()} was tagged by an engine with this "
                "fingerprint; `lga runs show` tells that of a run"
            )
        raise SettingsError(f"no photograph under {output.uri()} was tagged; `lga runs show` says why")
    photographs = _photographs(itertools.chain.from_iterable(ranked.values()), settings.photographs)
    rows = [_row(pick, photographs) for pick in picks]
    uri = store_manifest(settings.manifest, write_manifest(rows, kind))
    if settings.html is not None:
        sheets, page = split_uri(settings.html)
        sheets.put(page, sheet(picks, photographs).encode())
    get_log().info("review.manifest_written", manifest=uri, photographs=len(picks))
    _show(picks, uri, settings.html)
    return 0


def _photographs(tagged: Iterable[Tagged], uri: str | None) -> dict[str, Store]:
    """For each namespace the store that speaks of its keys: the whole bucket, or the folder that was scored."""
    namespaces = sorted({each.namespace for each in tagged})
    if uri is not None and len(namespaces) > 1:
        raise SettingsError(
            f"--photographs {uri}: it stands for one place, and the tags are of several ({', '.join(namespaces)}); "
            "leave it out, and each photograph is looked for where it was scored"
        )
    if uri is None and "" in namespaces:
        raise SettingsError("the tags do not say where their photographs are; name the place with --photographs")
    stores = {namespace: open_store(uri or namespace) for namespace in namespaces}
    return {
        namespace: S3Store(store.bucket) if isinstance(store, S3Store) else store for namespace, store in stores.items()
    }


def _row(pick: Pick, photographs: Mapping[str, Store]) -> Annotation:
    """To be mended by a person; a label that is merged keeps its image's old split."""
    return Annotation(
        image=photographs[pick.tagged.namespace].uri(pick.tagged.key),
        action=pick.tagged.label,
        split="train",
        boxes=(),
        width=pick.tagged.width,
        height=pick.tagged.height,
    )


def _show(picks: list[Pick], uri: str, html: str | None) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("manifest", uri)
    if html is not None:
        table.add_row("sheet", html)
    table.add_row("photographs", str(len(picks)))
    for reason, count in Counter(pick.reason for pick in picks).most_common():
        table.add_row(f"  {reason}", str(count))
    result_console().print(table)
    print("mend the labels in the manifest, then: lga prepare merge --manifest OLD --labels THIS --output NEW")
