"""Every setting of every command, in one place: flag, then ``LGA_*`` variable, then YAML, then default.

One frozen class for each command; the docstring under a field is its ``--help``. Environment variables are read here
and nowhere else (boto3 and Ray read their own). A YAML file given with ``--config`` or ``LGA_CONFIG`` holds settings at
its top level, which every command takes if it has them, and may hold a section for one command under the command's
name, which must fit exactly.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliPositionalArg,
    CliSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

from workers.errors import SettingsError

Settings = TypeVar("Settings", bound="CommandSettings")
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


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
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags are put in front by the command line source; YAML arrives as the last source."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _yaml.get())


class _Yaml:
    """The YAML values of the command that is being read; pydantic offers no way to hand them to a source."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self) -> dict[str, Any]:
        return dict(self.values)


_yaml = _Yaml()


class ClusterSettings(CommandSettings):
    """Where Ray runs."""

    ray_address: str | None = None
    """Address of a running Ray cluster ("auto" finds the one of this machine); without it a local Ray is started."""
    progress: bool | None = None
    """Progress bars; without this setting they appear when the output is a terminal."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Serve Prometheus metrics on this port; 0 takes a free one and logs it."""
    metrics_host: str = "127.0.0.1"
    """Address that the metrics are served on; 0.0.0.0 for a scraper on another machine."""


class RegistrySettings(CommandSettings):
    """Where models live."""

    registry: str = "registry"
    """URI or path of the model registry."""


class PrepareStanford40Settings(CommandSettings):
    """Turn the Stanford40 data set into a training manifest."""

    root: Path
    """Folder of the data set: JPEGImages, XMLAnnotations, ImageSplits."""
    output: str
    """Manifest to write, as URI or path, ending in .parquet or .jsonl."""
    validation_share: Share = 0.1
    """Share of the training images of each class that becomes the validation split."""
    seed: int = 0
    """Decides which images become the validation split."""


class PrepareMisleadingSettings(CommandSettings):
    """Render small scenes in which the pose is the action and the surroundings mislead in the test split."""

    root: Path
    """Folder to write the images to."""
    output: str | None = None
    """Manifest to write, ending in .parquet or .jsonl; without it manifest.parquet beside the images."""
    train: Count = 1200
    """Number of scenes to train on."""
    val: Count = 240
    """Number of scenes to validate on."""
    test: Count = 480
    """Number of scenes to test on."""
    size_px: Annotated[int, Field(ge=32, le=1024)] = 160
    """Side of a scene."""
    strength: Share = 0.9
    """How strongly the surroundings go with the action in training, and with another action in the test split."""
    seed: int = 0
    """The same seed gives the same scenes, byte for byte."""


class TrainSettings(ClusterSettings, RegistrySettings):
    """Train a model on a manifest with Ray Train and publish the best checkpoint as a version."""

    manifest: str
    """Training manifest (URI or path), as written by `lga prepare`."""
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    """Name of the model in the registry."""
    output: str = "training"
    """URI or path for the run's checkpoints."""
    run: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Name of the training run: the same name continues it; without it a new run starts."""
    backbone: str = "resnet50"
    """Any timm model that gives a feature map."""
    weights: str | None = None
    """Backbone weights: `timm` for the hub, a hub name, a file or URI (.safetensors, .pth), or `package` for the extra
    [pretrained]; without it the backbone starts from random weights."""
    variant: Literal["lga", "plain"] = "lga"
    """`lga`: with the added 1024-kernel convolution; `plain`: a standard classifier."""
    recipe: Literal["paper", "fast"] = "fast"
    """Named set of training settings; the settings below replace single values of it."""
    size_px: Annotated[int, Field(ge=32, le=2048)] = 224
    """Side of the square network input."""
    output_stride: Annotated[Literal[8, 16, 32], BeforeValidator(int)] = 32  # A flag arrives as text.
    """Input pixels for one cell of the feature map."""
    localisation_activation: Literal["relu", "sigmoid"] = "relu"
    """Last activation of the localisation branch; relu is the published one."""
    epochs: Count | None = None
    """Passes over the training split."""
    batch_size: Count | None = None
    """Images in one step, over all workers together."""
    backbone_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Learning rate of the backbone."""
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Learning rate of the two branches."""
    mask_weight: Annotated[float, Field(ge=0)] | None = None
    """Weight of the human-mask loss; 0 trains without it."""
    mask_reduction: Literal["sum", "mean"] | None = None
    """Mask loss summed over the cells, as Eq. 1 is written, or averaged."""
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    """Arithmetic of forward and backward pass."""
    workers: Count = 1
    """Number of training workers."""
    gpu: bool = False
    """Give each worker a GPU."""
    cpus_per_worker: Count | None = None
    """CPU cores of each worker; without it the machine's cores are shared among the workers."""
    seed: int = 0
    """Decides initial weights, order and augmentation."""
    cache_mb: Annotated[int, Field(ge=0)] = 1024
    """MiB of memory of each worker for decoded images; what does not fit is read again in each epoch."""
    skip_invalid: bool = False
    """Train on a manifest with bad rows or unusable images; they are counted and left out."""


class ModelSettings(RegistrySettings):
    """Commands that take one model."""

    model: str
    """Model: NAME:VERSION, NAME@ALIAS, or a path or URI of a bundle."""


class EvaluateSettings(ModelSettings):
    """Measure a model on one split of a manifest: mAP, per-class AP, focus, mask IoU."""

    manifest: str
    """Manifest (URI or path) with the split."""
    split: Literal["train", "val", "test"] = "test"
    """Split to measure on."""
    batch_size: Count = 32
    """Images in one forward pass."""
    skip_invalid: bool = False
    """Measure on a manifest with bad rows; they are counted and left out."""
    json_output: str | None = None
    """Write the result as JSON to this URI or path as well."""
    progress: bool | None = None
    """Progress bar; without this setting it appears when the output is a terminal."""


class CompileSettings(ModelSettings):
    """Compile a version into an engine, prove it equal to the model, and add it to the registry."""

    target: Literal["onnxruntime", "torch"] = "onnxruntime"
    """Runtime to compile for."""
    precision: Literal["fp32"] = "fp32"
    """Arithmetic of the engine."""
    manifest: str | None = None
    """Manifest whose validation images prove the engine; without it the one that the model was trained on."""
    parity_images: Count = 64
    """Number of images for the parity check."""
    max_probability_difference: Annotated[float, Field(gt=0)] = 1e-3
    """Largest allowed difference of one probability."""
    max_heatmap_difference: Annotated[float, Field(gt=0)] = 1e-2
    """Largest allowed difference of one heatmap cell."""
    max_pam_difference: Annotated[float, Field(gt=0)] = 1e-2
    """Largest allowed difference of one cell of the PAM, as a share of the map's largest value."""
    min_top1_agreement: Share = 1.0
    """Least share of images with the same label."""


class ScoreSettings(ClusterSettings, ModelSettings):
    """Tag every photograph under a prefix: exactly one row for each object. Running it again continues it."""

    input: str
    """Prefix or folder of photographs: s3://BUCKET/PREFIX or a path."""
    output: str
    """URI or path that the tags and the run's record are written under."""
    run: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Name of the run; without it an unfinished run with the same input and engine is continued, or a new one
    starts."""
    engine: Literal["best", "onnxruntime", "torch"] = "best"
    """Engine of the version to use; `best` takes the fastest that fits this machine."""
    include: list[str] = ["*"]
    """Patterns of keys to score, as in a shell (repeat the flag for more)."""
    exclude: list[str] = []
    """Patterns of keys to leave out."""
    limit: Count | None = None
    """Score at most this many objects."""
    scores: bool = True
    """Write every class's probability."""
    shard_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 2048
    """Objects in one shard, the unit of commit and of resuming."""
    batch_size: Count = 32
    """Images in one engine call."""
    engines: Count | None = None
    """Number of engine actors; without it one for each GPU, or one on a machine without."""
    fetch_concurrency: Count = 16
    """Requests in flight in each fetch task."""
    image_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds before one object is given up (reason: timeout)."""
    max_object_bytes: Count = 64 * 1024 * 1024
    """Larger objects are not fetched (reason: too_large)."""
    max_image_pixels: Count = 178_956_970
    """Larger images are not decoded (reason: too_large)."""
    max_failure_rate: Share = 1.0
    """Exit with 3 when a larger share of the objects failed."""


class OutputSettings(CommandSettings):
    """Commands that read what was scored."""

    output: str
    """URI or path that `lga score` wrote to."""


class RunsListSettings(OutputSettings):
    """List the runs under an output."""


class RunsShowSettings(OutputSettings):
    """Show one run: its account, its failures by reason, its timing."""

    run: str | None = None
    """Run to show; without it the newest."""


class TagsQuerySettings(OutputSettings):
    """Ask the tags in SQL (DuckDB): table `tags` is the latest row of each object, `tags_all` every row."""

    sql: CliPositionalArg[str]
    """The question, for example: select label, count(*) from tags group by label"""
    format: Literal["table", "csv", "json"] = "table"
    """How the answer is printed."""


class TagsEvaluateSettings(OutputSettings):
    """Compare the written tags with the right labels of a manifest; photographs are matched by file name."""

    manifest: str
    """Manifest (URI or path) with the right labels."""
    split: Literal["train", "val", "test"] = "test"
    """Split to compare with."""
    run: str | None = None
    """Run to measure; without it the latest tag of each object."""
    json_output: str | None = None
    """Write the figures as JSON to this URI or path as well."""


class ModelsListSettings(RegistrySettings):
    """List models, versions and aliases."""


class ModelsShowSettings(ModelSettings):
    """Show one version: metrics, lineage, engines."""


class ModelsPromoteSettings(ModelSettings):
    """Point an alias at a version."""

    alias: str = Field(default="production", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """Alias to move."""


class ModelsRollbackSettings(RegistrySettings):
    """Point an alias back at the version it held before."""

    name: str
    """Name of the model."""
    alias: str = "production"
    """Alias to move back."""


class DemoSettings(CommandSettings):
    """Run the whole loop on this machine: S3 server, Ray, training, engine, a tagged bucket, a query."""

    workdir: Path = Path("demo-work")
    """Folder that keeps data, registry, tags and logs; must be empty or absent."""
    train: Annotated[int, Field(ge=64)] = 512
    """Number of scenes to train on."""
    test: Count = 480
    """Number of scenes to tag."""
    epochs: Count = 5
    """Passes over the training scenes."""
    seed: int = 0
    """Decides scenes, weights and order."""
    progress: bool | None = None
    """Progress bars; without this setting they appear when the output is a terminal."""


class DoctorSettings(RegistrySettings):
    """Say what works here: versions, Ray, storage, engines. Exit 1 when something asked for does not."""

    store: str | None = None
    """URI to try: listed, written to, read back, cleaned up."""
    target: Literal["onnxruntime", "torch"] | None = None
    """Engine target that must work."""


def read_settings(settings_class: type[Settings], command: str, arguments: list[str]) -> Settings:
    """The settings of one command.

    Args:
        settings_class: The class of the command.
        command: The words of the command, for the help text and the YAML section, for example ``models promote``.
        arguments: What follows the command on the command line.

    Raises:
        SettingsError: Names each wrong setting, the value and the reason.
        SystemExit: After ``--help`` (0), or a flag that argparse does not know (2).
    """
    _yaml.values = _read_yaml(settings_class, command, arguments)
    try:
        source: CliSettingsSource[Any] = CliSettingsSource(
            settings_class,
            cli_prog_name=f"lga {command}",
            cli_parse_args=arguments,
            formatter_class=_Help,
        )
        return settings_class(_cli_settings_source=source)
    except ValidationError as error:
        raise SettingsError(_tell(error, command)) from error
    finally:
        _yaml.values = {}


class _Help(argparse.RawDescriptionHelpFormatter):
    """Argparse's help with the flags in a narrower column and all text wrapped, so that it fits a terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)

    @override
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return textwrap.fill(" ".join(text.split()), width, initial_indent=indent, subsequent_indent=indent)

    @override
    def _get_help_string(self, action: argparse.Action) -> str | None:
        # A default of None means "decided elsewhere", which the sentence before it tells better.
        return (action.help or "").replace(" (default: None)", "")


def _read_yaml(settings_class: type[CommandSettings], command: str, arguments: list[str]) -> dict[str, Any]:
    path = _config_path(arguments)
    if path is None:
        return {}
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"the settings file {path} must hold settings by name, not a {type(content).__name__}")
    content = {_underscored(key): value for key, value in content.items()}
    section = content.get(_underscored(command)) or {}
    if not isinstance(section, dict):
        raise SettingsError(f"section {command!r} of {path} must hold settings by name")
    shared = {key: value for key, value in content.items() if key in settings_class.model_fields}
    unknown = sorted(set(content) - known_settings() - _sections())
    if unknown:
        raise SettingsError(f"the settings file {path} has settings that no command knows: {', '.join(unknown)}")
    return shared | {_underscored(key): value for key, value in section.items()}


def _underscored(name: object) -> str:
    return str(name).replace("-", "_").replace(" ", "_")


def _config_path(arguments: list[str]) -> str | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(argparse.ArgumentError, SystemExit):
        found, _ = parser.parse_known_args(arguments)
        if found.config:
            return str(found.config)
    return os.environ.get("LGA_CONFIG") or None


def known_settings() -> set[str]:
    """The names of all settings of all commands."""
    return {name for settings_class in COMMANDS.values() for name in settings_class.model_fields}


def _sections() -> set[str]:
    return {_underscored(command) for command in COMMANDS}


def _tell(error: ValidationError, command: str) -> str:
    """One line for each wrong setting, in the words of the command line."""
    lines = []
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"]) or "settings"
        flag = f"--{name.replace('_', '-')}"
        if problem["type"] == "missing":
            lines.append(f"{flag} is needed (or LGA_{name.upper()})")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{name} is not a setting of `lga {command}`")
        else:
            lines.append(f"{flag} {problem['input']!r}: {problem['msg']}")
    return "; ".join(lines) + f". See `lga {command} --help`"


COMMANDS: dict[str, type[CommandSettings]] = {
    "demo": DemoSettings,
    "prepare stanford40": PrepareStanford40Settings,
    "prepare misleading": PrepareMisleadingSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
    "compile": CompileSettings,
    "score": ScoreSettings,
    "runs list": RunsListSettings,
    "runs show": RunsShowSettings,
    "tags query": TagsQuerySettings,
    "tags evaluate": TagsEvaluateSettings,
    "models list": ModelsListSettings,
    "models show": ModelsShowSettings,
    "models promote": ModelsPromoteSettings,
    "models rollback": ModelsRollbackSettings,
    "doctor": DoctorSettings,
}
"""Each command and the class of its settings."""
