"""What every rival calls for a batch: the same weights in PyTorch, and the same outputs as the project's own rows."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs
import torch

from workers.engines.torch import load_graph, run_graph

BATCH = 32


class Scorer:
    """Opened once in each process that scores."""

    def __init__(self, bundle: str, threads: int) -> None:
        """Load the bundle's weights."""
        torch.set_num_threads(threads)
        self._graph, _ = load_graph(Path(bundle), "rival")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """From ``path`` and ``image`` (uint8, ``[B, H, W, 3]``) to rows."""
        output = run_graph(self._graph, np.ascontiguousarray(np.stack(list(batch["image"]))))
        count = len(output.pam_BHW)
        heatmap_BN = np.asarray(output.heatmap_BHW).reshape(count, -1)
        return {
            "path": [str(path) for path in batch["path"]],
            "label_index": output.probabilities_BA.argmax(axis=1),
            "confidence": output.probabilities_BA.max(axis=1),
            "scores": list(output.probabilities_BA.astype(np.float16)),
            "heatmap": list((heatmap_BN * 255).astype(np.uint8)),
            "pam": list(np.maximum(output.pam_BHW.reshape(count, -1), 0)),
            "scored_at": np.full(count, time.time()),
        }


def file_system() -> pyarrow.fs.S3FileSystem:
    """The benchmark's S3 server, for pyarrow."""
    return pyarrow.fs.S3FileSystem(
        endpoint_override=os.environ["AWS_ENDPOINT_URL_S3"],
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region="us-east-1",
    )
