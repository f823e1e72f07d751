"""Ray Data's newer way: a table of URIs, the ``download`` expression, decoding in ``map_batches``."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
from PIL import Image
from pyarrow.fs import FileSelector
from ray.data.expressions import download

sys.path.insert(0, str(Path(__file__).parent))
from scorer import BATCH, Scorer, file_system


def main(source: str, output: str, bundle: str, size_px: int, cores: int) -> None:
    """Score a prefix."""
    # Planning the downloads and scoring are actors that keep a CPU each: with two CPUs the downloads wait for ever.
    ray.init(num_cpus=cores + 2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
             runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}})  # fmt: skip

    def decode(batch: Any) -> Any:  # noqa: ANN401 - as Ray's own signature
        images = [
            Image.open(io.BytesIO(data)).convert("RGB").resize((size_px, size_px), Image.Resampling.BILINEAR)
            for data in batch["bytes"]
        ]
        return {"path": batch["path"], "image": np.stack([np.asarray(image) for image in images])}

    files = file_system().get_file_info(FileSelector(source, recursive=True))
    table = ray.data.from_items([{"path": one.path} for one in files if one.is_file])
    loaded = table.with_column("bytes", download("path", filesystem=file_system()))
    rows = loaded.map_batches(decode, batch_size=BATCH).map_batches(
        Scorer, batch_size=BATCH, fn_constructor_args=(bundle, cores), compute=ray.data.ActorPoolStrategy(size=1)
    )
    rows.write_parquet(output, filesystem=file_system())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
