"""No Ray at all: boto3 in a PyTorch DataLoader, one model in the main process, as timm's inference script does."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).parent))
from scorer import BATCH, Scorer, file_system


class Photographs(Dataset[dict[str, Any]]):
    """Objects of a bucket, decoded in the loader's workers."""

    def __init__(self, bucket: str, keys: list[str], size_px: int) -> None:
        """Take the keys; each worker opens a client of its own."""
        self._bucket, self._keys, self._size_px = bucket, keys, size_px
        self._client: Any = None

    def __len__(self) -> int:
        """Objects."""
        return len(self._keys)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Fetch and decode one."""
        self._client = self._client or boto3.client("s3")
        data = self._client.get_object(Bucket=self._bucket, Key=self._keys[index])["Body"].read()
        image = (
            Image.open(io.BytesIO(data))
            .convert("RGB")
            .resize((self._size_px, self._size_px), Image.Resampling.BILINEAR)
        )
        return {"path": f"{self._bucket}/{self._keys[index]}", "image": np.asarray(image)}


def together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch."""
    return {"path": [row["path"] for row in rows], "image": np.stack([row["image"] for row in rows])}


def main(source: str, output: str, bundle: str, size_px: int, cores: int) -> None:
    """Score a prefix."""
    bucket, _, prefix = source.partition("/")
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    keys = [entry["Key"] for page in pages for entry in page["Contents"]]
    scorer = Scorer(bundle, cores)
    loader = DataLoader(Photographs(bucket, keys, size_px), BATCH, num_workers=cores, collate_fn=together)
    tables = [pa.table(scorer(batch)) for batch in loader]
    pq.write_table(pa.concat_tables(tables), f"{output}/rows.parquet", filesystem=file_system())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
