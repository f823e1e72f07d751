"""Daft: ``download`` -> ``decode_image`` -> ``resize`` -> a stateful function on its own engine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import daft
from daft.functions import decode_image, download, resize
from daft.io import IOConfig, S3Config

sys.path.insert(0, str(Path(__file__).parent))
from scorer import BATCH, Scorer

SCORER: list[Scorer] = []


def main(source: str, output: str, bundle: str, size_px: int, cores: int) -> None:
    """Score a prefix."""
    config = IOConfig(
        s3=S3Config(
            endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"],
            key_id=os.environ["AWS_ACCESS_KEY_ID"],
            access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            use_ssl=False,
        )
    )
    kinds = {
        "label_index": daft.DataType.int64(), "confidence": daft.DataType.float32(),
        "scores": daft.DataType.list(daft.DataType.float32()), "heatmap": daft.DataType.list(daft.DataType.uint8()),
        "pam": daft.DataType.list(daft.DataType.float32()), "scored_at": daft.DataType.float64(),
    }  # fmt: skip

    @daft.func.batch(return_dtype=daft.DataType.struct(kinds), batch_size=BATCH)  # type: ignore[untyped-decorator,unused-ignore]
    def score(path: daft.Series, image: daft.Series) -> list[dict[str, Any]]:
        if not SCORER:
            SCORER.append(Scorer(bundle, cores))
        rows = SCORER[0]({"path": path.to_pylist(), "image": image.to_pylist()})
        return [{name: _plain(rows[name][index]) for name in kinds} for index in range(len(rows["path"]))]

    files = daft.from_glob_path(f"s3://{source}/**", io_config=config)
    images = resize(decode_image(download(files["path"], io_config=config), mode="RGB"), w=size_px, h=size_px)
    rows = files.select(files["path"], images.alias("image"))
    rows = rows.select(rows["path"], score(rows["path"], rows["image"]).alias("row"))
    rows = rows.select(rows["path"], *(rows["row"][name].alias(name) for name in kinds))
    rows.write_parquet(f"s3://{output}", io_config=config)


def _plain(value: Any) -> Any:  # noqa: ANN401 - numpy's to Python's
    return value.tolist() if hasattr(value, "tolist") else value


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
