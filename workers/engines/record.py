"""What an engine is and what it must match to be loaded: ``engine.json`` beside ``engine.bin``.

An engine comes from storage and is as good as executable code: nothing of it is believed before its digest is checked
against this record, and the record itself is refused when it says anything that this release does not know.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    computed_field,
    model_serializer,
)

from lga_model.calibration import Calibration
from lga_model.config import ModelConfig
from workers.errors import WorkerError
from workers.settings.shared import EnginePrecision, Target

ENGINE_FILE = "engine.bin"
RECORD_FILE = "engine.json"
FORMAT = 2
"""Version of the layout of ``engine.json``. A new optional field keeps it; a change of meaning raises it."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Cells = Annotated[int, Field(ge=1)]


class EngineError(WorkerError):
    """An engine is damaged, does not fit this machine, or failed. The message names the command that makes another."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


class TensorSpec(_Record):
    """One input or output of an engine."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: tuple[int | None, ...]
    """None is the free batch axis."""


_CHOSEN_LATER = ("batch", "contexts", "cuda_graphs", "modelopt")
_NOTHING = object()


class Gpu(_Record):
    """The GPUs that an engine is bound to, and how it uses them: in the way in which it was proven."""

    name: str | None
    """Model of the GPU; None when any with one of the capabilities will do."""
    compute_capabilities: tuple[str, ...]
    """For example ``9.0``."""
    and_newer: bool = False
    """Whether GPUs with a higher capability will do as well."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Images in a production batch."""
    contexts: Annotated[int, Field(ge=1)] = 1
    """Production batches on their way at once."""
    cuda_graphs: bool = False
    """Whether a production batch is one launch of a recorded graph."""
    modelopt: bool = False
    """Whether NVIDIA's modelopt quantised the graph."""

    @model_serializer(mode="wrap")
    def _told(self, told: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is as it was before it could be chosen: records of then keep their key, and are read here."""
        usual = {name: field.default for name, field in type(self).model_fields.items() if name in _CHOSEN_LATER}
        return {name: value for name, value in told(self).items() if usual.get(name, _NOTHING) != value}

    @property
    def flags(self) -> str:
        """The flags of `lga compile` that make an engine which is used in this way."""
        usual = type(self).model_fields
        chosen = {
            f" --engine-batch {self.batch}": self.batch != usual["batch"].default,
            f" --contexts {self.contexts}": self.contexts != usual["contexts"].default,
            " --cuda-graphs": self.cuda_graphs,
            " --modelopt PYTHON": self.modelopt,
        }
        return "".join(flag for flag, given in chosen.items() if given)


class Parity(_Record):
    """How close an engine is to the model that it came from, over ``images`` real photographs."""

    images: int
    top1_agreement: float
    """Share of images with the same label."""
    max_probability_difference: float
    """Over all images and classes."""
    max_heatmap_difference: float | None
    """Over all images and cells; None without a heatmap."""
    max_pam_difference: float
    """Over all images and cells, as a share of the largest absolute value in the image's own map."""
    device: Literal["cpu", "cuda"]
    """What the engine ran on."""
    mean_average_precision: float | None = None
    """Of the engine over the same images; None when none of them is of a class of the model."""
    model_mean_average_precision: float | None = None
    """Of the model."""
    focus_difference: float | None = None
    """Mean over the images with the same label; None without a heatmap."""

    @property
    def map_difference(self) -> float | None:
        """How far the two mean average precisions are apart."""
        if self.mean_average_precision is None or self.model_mean_average_precision is None:
            return None
        return abs(self.mean_average_precision - self.model_mean_average_precision)


class EngineRecord(_Record):
    """Everything about an engine but its bytes."""

    format: Literal[2] = 2
    model: str
    """Name of the model in the registry."""
    version: int
    """Number of its version, 0 for a bundle outside of a registry."""
    target: Target
    precision: EnginePrecision
    backend_version: str
    """Version of the runtime that the engine was proven on, and the only one that it is loaded with."""
    gpu: Gpu | None = None
    """GPU model that the engine is bound to; None when it runs anywhere."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    engine_sha256: Sha256
    onnx_sha256: Sha256 | None = None
    """Digest of the ONNX file that the engine was built from; None when there was none."""
    weights_sha256: Sha256
    config: ModelConfig
    """The model's own configuration: classes in the order of the probabilities, input size, normalisation."""
    heatmap_hw: tuple[Cells, Cells]
    """Cells (h, w) of heatmap and PAM."""
    preprocessing: str
    """Name of the preprocessing that the images must have gone through."""
    calibration: Calibration
    spared: tuple[str, ...] = ()
    """Layers that stayed in fp32 because the proof asked for it, by their names in the network."""
    golden: str | None = None
    """What the engine said about the golden batch when it was proven; see ``workers.engines.golden``."""
    parity: Parity | None = None
    """The proof; None only while the engine is being made. The registry takes none without."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Action names in the order of the probabilities."""
        return self.config.classes

    @property
    def size_px(self) -> int:
        """Side of the square input."""
        return self.config.image.size_px

    @property
    def has_heatmap(self) -> bool:
        """Whether the engine tells where the person is."""
        return self.config.has_heatmap

    @computed_field  # type: ignore[prop-decorator]
    @property
    def fingerprint(self) -> str:
        """What makes rows differ: 16 hex digits of a sha256 over engine, arithmetic, preprocessing and calibration."""
        runs_on = (self.target, self.precision)  # The same file serves two runtimes, and one in two precisions.
        return _digest(self.engine_sha256, runs_on, self.preprocessing, asdict(self.calibration))[:16]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def key(self) -> str:
        """Its name among the engines of its target: another runtime version or GPU model gives another key."""
        bound_to = None if self.gpu is None else self.gpu.model_dump()
        return f"{self.precision}-{_digest(self.fingerprint, self.backend_version, bound_to)[:12]}"

    @property
    def folder(self) -> str:
        """Name of its folder below ``engines/``."""
        return f"{self.target}-{self.key}"

    @property
    def rebuild(self) -> str:
        """The command that makes this engine again."""
        reference = f"{self.model}:{self.version}" if self.version else self.model
        flags = self.gpu.flags if self.gpu else ""
        return f"lga compile --model {reference} --target {self.target} --precision {self.precision}{flags}"

    def to_json(self) -> bytes:
        """The content of ``engine.json``."""
        return (self.model_dump_json(indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, name: str) -> Self:
        """Read the content of ``engine.json``.

        Args:
            data: The content, untrusted.
            name: Where it came from, for messages.

        Raises:
            EngineError: If it is damaged, contradicts itself, or says something that this release does not know.
        """
        try:
            document = json.loads(data)
            record = cls.model_validate_json(json.dumps(_without(document, _COMPUTED)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "record"
            raise EngineError(f"{name}: {field}: {first['msg']}; {_WAY_OUT}") from error
        except (ValueError, RecursionError) as error:
            raise EngineError(f"{name} is not an engine record: {error}; {_WAY_OUT}") from error
        # Whatever is not read back as it stands is unknown here, or is a digest that does not belong to the rest.
        if strange := _first_strange(document, json.loads(record.to_json())):
            raise EngineError(f"{name}: {strange} means nothing to this release, or contradicts the rest; {_WAY_OUT}")
        return record


_COMPUTED = ("fingerprint", "key")
_WAY_OUT = "use the release that wrote it, or compile the model again with `lga compile`"


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _without(document: object, names: tuple[str, ...]) -> object:
    if not isinstance(document, dict):
        return document
    return {name: value for name, value in document.items() if name not in names}


def _first_strange(document: object, known: object, path: str = "") -> str | None:
    """The first field of a document that is not, or not so, in what was understood of it."""
    if not isinstance(document, dict) or not isinstance(known, dict):
        return None if document == known else path
    for name, value in document.items():
        here = f"{path}.{name}" if path else str(name)
        if name not in known:
            return here
        if strange := _first_strange(value, known[name], here):
            return strange
    return None
