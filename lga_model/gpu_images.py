"""As ``images``, with JPEGs decoded by an NVIDIA GPU (nvJPEG, through torchvision).

A GPU decodes at full size and shrinks once, where the CPU takes the smallest scale of the JPEG's own transform: pixels
differ by a level or two. What it does not read, or may read wrongly without a word, goes the CPU's way: other formats,
CMYK, and files that are not whole. torchvision 0.29 announces that TorchCodec will take the place of this decoder.

Shape suffixes: H W = pixels, C = red, green, blue.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from lga_model.images import DecodedImage, ImageError, ImageLimits, decode_image, read_jpeg_header, upright


class GpuDecoder:
    """Decodes one photograph after the other on a GPU. Not to be shared between threads."""

    def __init__(
        self, size_px: int, limits: ImageLimits | None = None, device: Literal["cuda", "cpu"] = "cuda"
    ) -> None:
        """Choose the square's side, what is too much, and the device; ``cpu`` computes the same, for comparison."""
        self._size_px, self._limits, self._device = size_px, limits or ImageLimits(), device
        torch.empty(1, device=device)  # Fails here where there is no such device, and not once for each photograph.

    def decode(self, data: bytes) -> DecodedImage:
        """As ``images.decode_image``, with its errors."""
        header = read_jpeg_header(data, self._limits)
        if header is None:
            return decode_image(data, self._size_px, self._limits)
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        try:
            pixels_CHW = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=self._device)
        except RuntimeError as error:
            if "out of memory" in str(error):
                raise ImageError("too_large", "decoding it needs more memory than the GPU has") from error
            return decode_image(data, self._size_px, self._limits)  # Reads it all the same, or says what is wrong.
        pixels_HWC = _squeezed(pixels_CHW, self._size_px).permute(1, 2, 0).contiguous().cpu().numpy()
        return upright(pixels_HWC, header.width_px, header.height_px, header.orientation)


def _squeezed(pixels_CHW: Tensor, size_px: int) -> Tensor:
    """To a square, each axis by a product with a matrix: exactly OpenCV's filters, whatever the ratio."""
    rows, columns = (_weights(length, size_px, pixels_CHW.device) for length in pixels_CHW.shape[1:])
    squeezed = rows @ pixels_CHW.float() @ columns.T
    return squeezed.round().clamp(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=64)
def _weights(length: int, size_px: int, device: torch.device) -> Tensor:
    """Weights ``[size_px, length]`` of the old pixels in each new one.

    The area that they share where the axis shrinks, linear between centres where it grows.
    """
    scale = length / size_px
    new, old = np.arange(size_px)[:, None], np.arange(length)[None]
    if scale >= 1:
        shared = np.minimum(old + 1, (new + 1) * scale) - np.maximum(old, new * scale)
        weights = np.clip(shared, 0, None) / scale
    else:
        centre = np.clip((new + 0.5) * scale - 0.5, 0, length - 1)
        weights = np.clip(1 - np.abs(old - centre), 0, None)
    return torch.tensor(weights, dtype=torch.float32, device=device)
