"""What several commands have: logs, the cluster, the registry, the model, the output."""

from __future__ import annotations

import contextlib
import json
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, Field
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Target = Literal["tensorrt", "tensorrt-rtx", "openvino", "onnxruntime", "torch"]
"""Runtimes that a model can be compiled for."""
EnginePrecision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
"""Arithmetic of an engine."""


def _engine_choice(wanted: str) -> str:
    targets = get_args(Target)
    if wanted == "best" or any(wanted == target or wanted.startswith(f"{target}-") for target in targets):
        return wanted
    raise ValueError(f"there is no engine {wanted!r}: best, one of {', '.join(targets)}, or the name of one engine")


EngineChoice = Annotated[str, AfterValidator(_engine_choice)]
"""``best``, a target, or the name of one engine as `lga compile` tells it (``tensorrt-fp16-0a1b2c3d4e5f``)."""
DecodeOn = Literal["cpu", "gpu"]
"""Where JPEGs are decoded."""
HardwareCompatibility = Literal["none", "same_compute_capability", "ampere_plus"]
"""GPUs that a TensorRT engine runs on: the very model it was built on, its compute capability, or 8.0 and newer."""

REASONS = (
    "missing", "denied", "throttled", "truncated", "not_an_image", "unsupported", "too_large", "decode_error",
    "timeout", "engine_error",
)  # fmt: skip
"""Why an object has no tags: a closed set. The tag table takes it from here, since settings know no tables."""


def _known_reason(reason: str) -> str:
    if reason not in REASONS:
        raise ValueError(f"there is no reason {reason!r}; there are: {', '.join(REASONS)}")
    return reason


Reason = Annotated[str, AfterValidator(_known_reason)]
"""One of ``REASONS``."""

yaml_values: ContextVar[dict[str, Any]] = ContextVar("yaml_values", default={})  # noqa: B039 - never changed in place
"""The YAML values of the command that is being read; pydantic offers no way to hand them to a source."""


class _Variables(EnvSettingsSource):
    """The ``LGA_*`` variables. What takes several values is written with commas, or as JSON."""

    @override
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: str) -> Any:
        with contextlib.suppress(ValueError):
            found = json.loads(value)
            if isinstance(found, list | dict):  # And not the number that a single value may look like.
                return found
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if get_origin(field.annotation) is dict:
            return {name: given for name, _, given in (part.partition("=") for part in parts)}
        return parts


class CommandSettings(BaseSettings):
    """What every command has."""

    model_config = SettingsConfigDict(
        env_prefix="LGA_",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        env_ignore_empty=True,
        protected_namespaces=(),
    )

    config: Path | None = None
    """YAML file with settings; a flag or an LGA_* variable goes before it."""
    log_format: Literal["console", "json"] = "console"
    """Log lines for people, or one JSON object for each line."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important log line that is shown."""

    @classmethod
    def arranged(cls, arguments: list[str]) -> list[str]:
        """The arguments as argparse has to see them. For a command that takes another command."""
        return arguments

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags are put in front by the command line source; YAML arrives as the last source."""
        return init_settings, _Variables(settings_cls), InitSettingsSource(settings_cls, yaml_values.get())


class MetricsSettings(CommandSettings):
    """Where the metrics of a job go."""

    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Serve Prometheus metrics on this port; 0 takes a free one and logs it."""
    metrics_host: str = "127.0.0.1"
    """Address that the metrics are served on; 0.0.0.0 for a scraper on another machine."""
    metrics_file: Path | None = None
    """File for the outcome of the run, in the folder of node exporter's textfile collector; ends in .prom."""
    pushgateway: str | None = None
    """Pushgateway (HOST:PORT or URL) for the outcome of the run."""
    pipeline: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] = "default"
    """Name of the schedule that this run belongs to; label of the outcome."""
    period_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds between two scheduled starts; lets an alert notice a start that was missed."""
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which the run should have ended; nothing is stopped, an alert fires before."""


class ClusterSettings(MetricsSettings):
    """Where Ray runs."""

    ray_address: str | None = None
    """Address of a running Ray cluster ("auto" finds the one of this machine); without it a local Ray is started."""
    progress: bool | None = None
    """Progress bars; without this setting they appear when the output is a terminal."""


class RegistrySettings(CommandSettings):
    """Where models live."""

    registry: str = "registry"
    """URI or path of the model registry."""


class ModelSettings(RegistrySettings):
    """Commands that take one model."""

    model: str
    """Model: NAME:VERSION, NAME@ALIAS, or a path or URI of a bundle."""


class OutputSettings(CommandSettings):
    """Commands that read what was scored."""

    output: str
    """URI or path that `lga score` wrote to."""
