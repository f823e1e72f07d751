"""TensorRT for RTX: the source is ``workers.engines.tensorrt``, the product another."""

from __future__ import annotations

from workers.engines.tensorrt import Product

_RTX = Product("TensorRT for RTX", "tensorrt_rtx_bindings")
version, precisions, build, open = _RTX.version, _RTX.precisions, _RTX.build, _RTX.open  # noqa: A001 - engines.open
