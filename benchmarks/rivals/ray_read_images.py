"""Ray Data as its documentation shows batch inference: ``read_images`` -> ``map_batches`` -> ``write_parquet``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import ray
import ray.data

sys.path.insert(0, str(Path(__file__).parent))
from scorer import BATCH, Scorer, file_system


def main(source: str, output: str, bundle: str, size_px: int, cores: int) -> None:
    """Score a prefix."""
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
             runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}})  # fmt: skip
    images = ray.data.read_images(
        source, filesystem=file_system(), size=(size_px, size_px), mode="RGB", include_paths=True
    )
    rows = images.map_batches(
        Scorer, batch_size=BATCH, fn_constructor_args=(bundle, cores), compute=ray.data.ActorPoolStrategy(size=1)
    )
    rows.write_parquet(output, filesystem=file_system())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
