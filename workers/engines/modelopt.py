"""int8 and fp8 by NVIDIA's modelopt, as a program of another environment: it wants other versions of onnx's packages.

What comes back is the same kind of file as ``workers.engines.int8`` writes: an ONNX with pairs of QuantizeLinear and
DequantizeLinear, which TensorRT builds from.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx

from lga_model.export import nodes_to_spare
from workers.engines.ingredients import Ingredients
from workers.engines.record import EngineError

_TIMEOUT_S = 3600
_TOLD = 300
"""Characters of its last words that a message repeats."""


def quantised(ingredients: Ingredients) -> bytes:
    """Quantise the exported graph to the precision of the ingredients, with the ranges of the calibration photographs.

    Raises:
        EngineError: If the environment has no modelopt, or modelopt fails. The message has its last words.
    """
    python = ingredients.gpu.modelopt
    if python is None:
        raise EngineError(
            f"{ingredients.precision} is quantised by nvidia-modelopt, in an environment of its own: "
            "python -m venv modelopt; modelopt/bin/pip install 'nvidia-modelopt[onnx]'; "
            "then --modelopt modelopt/bin/python"
        )
    program = shutil.which(python)
    if program is None:
        raise EngineError(f"modelopt's interpreter {python} is not there, or no program; check --modelopt")
    model = onnx.load_from_string(ingredients.onnx)
    # Patterns that match from the beginning of a name.
    left_alone = [f"{re.escape(name)}$" for name in nodes_to_spare(model, ingredients.spared)]
    with tempfile.TemporaryDirectory(prefix="lga-modelopt-") as folder:
        place = Path(folder)
        (place / "model.onnx").write_bytes(ingredients.onnx)
        np.save(place / "photographs.npy", np.concatenate(list(ingredients.calibration())))
        command = [
            str(Path(program).absolute()), "-m", "modelopt.onnx.quantization",
            "--onnx_path", "model.onnx", "--output_path", "quantised.onnx",
            "--quantize_mode", ingredients.precision, "--high_precision_dtype", "fp32",
            "--calibration_data_path", "photographs.npy", "--calibration_eps", "cpu",
            "--nodes_to_exclude", *left_alone,
        ]  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603 - the interpreter that the settings name
                command, cwd=place, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineError(f"modelopt cannot be run by {python}: {error}") from error
        if done.returncode or not (place / "quantised.onnx").exists():
            words = (done.stderr.strip() or done.stdout.strip())[-_TOLD:]
            raise EngineError(f"modelopt of {python} made nothing of this model in {ingredients.precision}: {words}")
        return (place / "quantised.onnx").read_bytes()
