"""What models look at: Eq. 2's SAM and PAM and the heatmap, for photographs of a manifest.

Shape suffixes: B = images, H W = pixels or cells, C = red, green, blue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lga_model.activations import focus, predicting_activation_map, spatial_activation_map
from lga_model.annotations import Annotation
from lga_model.export import InferenceGraph
from lga_model.images import DecodedImage
from lga_model.targets import human_mask
from workers.report.cards import Box, Map
from workers.report.pictures import THUMBNAIL_PX, Thumbnail, byte_map, read_pictures, thumbnail
from workers.storage import Blob, split_uri

_BATCH = 16

_Decoded = tuple[Annotation, dict[int, DecodedImage]]
"""A photograph at the size of each model."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One photograph through one model."""

    label: str
    confidence: float
    labels: tuple[tuple[str, float], ...]
    """The five likeliest."""
    focus_in_boxes: float | None
    """Share of the positive PAM in the true person boxes; None without boxes."""
    sam_HW: NDArray[np.float32]
    pam_HW: NDArray[np.float32]
    heatmap_HW: NDArray[np.float32] | None

    def maps(self, prefix: str = "") -> tuple[Map, ...]:
        """As layers of a card: SAM from its least to its most, PAM from zero to its most, the heatmap as it is."""
        sam_HW = self.sam_HW - self.sam_HW.min()
        layers = [
            Map(name=f"{prefix}SAM", kind="activity", cells_HW=byte_map(sam_HW, float(sam_HW.max()))),
            Map(name=f"{prefix}PAM", kind="evidence", cells_HW=byte_map(self.pam_HW, float(self.pam_HW.max()))),
        ]
        if self.heatmap_HW is not None:
            layers.append(Map(name=f"{prefix}heatmap", kind="person", cells_HW=byte_map(self.heatmap_HW, 1.0)))
        return tuple(layers)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One photograph through all models of a page."""

    annotation: Annotation
    looks: tuple[Look, ...]
    """One for each model."""

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The person boxes as shares of width and height."""
        width, height = self.annotation.width, self.annotation.height
        return tuple((x0 / width, y0 / height, x1 / width, y1 / height) for x0, y0, x1, y1 in self.annotation.boxes)


def in_random_order(annotations: Sequence[Annotation]) -> list[Annotation]:
    """An order that depends on the names alone, and not on what any model says."""
    return sorted(annotations, key=lambda each: hashlib.sha256(each.image.rpartition("/")[2].encode()).digest())


def look_at(graphs: Sequence[InferenceGraph], annotations: Sequence[Annotation]) -> Iterator[Seen]:
    """Run models over photographs. Those that cannot be read are left out.

    Args:
        graphs: Calibrated models, all with the same preprocessing; sizes may differ.
        annotations: With full names, as ``load_manifest`` gives them.
    """
    sizes = sorted({graph.network.config.image.size_px for graph in graphs})
    names = [annotation.image for annotation in annotations]
    batch: list[_Decoded] = []
    for annotation, *pictures in zip(annotations, *(read_pictures(names, _read, size) for size in sizes), strict=True):
        images = {size: each.image for size, each in zip(sizes, pictures, strict=True) if each.image is not None}
        if len(images) == len(sizes):
            batch.append((annotation, images))
        if len(batch) == _BATCH:
            yield from _look_at_batch(graphs, batch)
            batch = []
    if batch:
        yield from _look_at_batch(graphs, batch)


def photographs_of(seen: Sequence[Seen]) -> Iterator[Thumbnail | None]:
    """The photographs themselves, sharper than the model saw them; None for one that cannot be read any more."""
    for picture in read_pictures([one.annotation.image for one in seen], _read, THUMBNAIL_PX):
        yield None if picture.image is None else thumbnail(picture.image)


def _look_at_batch(graphs: Sequence[InferenceGraph], batch: Sequence[_Decoded]) -> Iterator[Seen]:
    rows = [annotation for annotation, _ in batch]
    looks = []
    for graph in graphs:
        size = graph.network.config.image.size_px
        looks.append(_look(graph, rows, np.stack([images[size].pixels_HWC for _, images in batch])))
    for number, annotation in enumerate(rows):
        yield Seen(
            annotation=annotation,
            looks=tuple(each[number] for each in looks),
        )


def _look(graph: InferenceGraph, rows: Sequence[Annotation], images_BHWC: NDArray[np.uint8]) -> list[Look]:
    network = graph.network
    with torch.inference_mode():
        prediction = network(torch.from_numpy(images_BHWC))
        probabilities_BA = torch.softmax(prediction.logits_BA / graph.temperature, dim=1).numpy()
        sam_BHW = spatial_activation_map(prediction.features_BKHW, normalise=True).numpy()
        pam_BHW = predicting_activation_map(prediction.cam_BAHW, prediction.logits_BA.argmax(dim=1)).numpy()
        heatmap_BHW = None if prediction.heatmap_BHW is None else prediction.heatmap_BHW.clamp(0, 1).numpy()
    boxes = [np.array(row.boxes, np.float64).reshape(-1, 4) for row in rows]
    grid_hw = network.feature_size
    mask_BHW = np.stack(
        [human_mask(each, row.width, row.height, grid_hw) for each, row in zip(boxes, rows, strict=True)]
    )
    focus_B = focus(pam_BHW, mask_BHW)
    order_BA = np.argsort(-probabilities_BA, axis=1, kind="stable")[:, :5]
    classes = network.config.classes
    return [
        Look(
            label=classes[order_A[0]],
            confidence=float(probability_A[order_A[0]]),
            labels=tuple((classes[index], float(probability_A[index])) for index in order_A),
            focus_in_boxes=float(share) if row.boxes and np.isfinite(share) else None,
            sam_HW=sam_BHW[number],
            pam_HW=pam_BHW[number],
            heatmap_HW=None if heatmap_BHW is None else heatmap_BHW[number],
        )
        for number, (row, order_A, probability_A, share) in enumerate(
            zip(rows, order_BA, probabilities_BA, focus_B, strict=True)
        )
    ]


def _read(uri: str) -> Blob:
    store, name = split_uri(uri)
    return store.get(name)
