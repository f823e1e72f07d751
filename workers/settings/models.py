"""Settings of `lga models`."""

from __future__ import annotations

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


class ModelsRollbackSettings(RegistrySettings):
    """Point an alias back at the version it held before."""

    name: str
    """Name of the model."""
    alias: str = "production"
    """Alias to move back."""
