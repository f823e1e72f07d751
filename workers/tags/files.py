"""The shards of an output as files on this machine, for programs that read many of them at once (DuckDB)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from workers.storage import FolderStore, Store
from workers.tags.shards import ShardName, list_shards

_READERS = 16


def local_files(output: Store, folder: Path, run_id: str | None = None) -> list[Path]:
    """The shards as files: where they are, or copies below ``folder``.

    Args:
        output: Where the tags are.
        folder: For copies; the caller removes it.
        run_id: Only the shards of this run.
    """
    names = list(list_shards(output, run_id))
    if isinstance(output, FolderStore):
        return [output.path / name.key for name in names]

    def copy(name: ShardName) -> Path:
        path = folder / name.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(output.get(name.key).data)
        return path

    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(copy, names))
