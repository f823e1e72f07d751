"""Settings of `lga models`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workers.settings.shared import ModelSettings, RegistrySettings


class ModelsListSettings(RegistrySettings):
    """List models, versions and aliases."""


class ModelsShowSettings(ModelSettings):
    """Show one version: metrics, lineage, engines."""


class ModelsPromoteSettings(ModelSettings):
    """Point an alias at a version."""

    alias: str = Field(default="production", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """Alias to move."""


class ModelsCollectSettings(RegistrySettings):
    """Delete versions that no alias needs and that publishers left half written; their lineage stays."""

    name: str | None = None
    """Name of the model; without it every model."""
    keep: Annotated[int, Field(ge=0)] = 5
    """Newest versions of each model that stay in any case."""
    min_age_days: Annotated[float, Field(ge=0)] = 7.0
    """Younger versions stay as well: somebody may be about to promote one."""
    dry_run: bool = False
    """Print what would go, and delete nothing."""


class ModelsRollbackSettings(RegistrySettings):
    """Point an alias back at the version it held before."""

    name: str
    """Name of the model."""
    alias: str = "production"
    """Alias to move back."""
