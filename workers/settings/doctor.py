"""Settings of `lga doctor`."""

from __future__ import annotations

from workers.settings.shared import RegistrySettings, Target


class DoctorSettings(RegistrySettings):
    """Say what works here: versions, Ray, storage, engines. Exit 1 when something asked for does not."""

    registry: str = "registry"
    """URI or path of a model registry to look into; without it none is."""
    store: str | None = None
    """URI to try: listed, written to, read back, cleaned up."""
    target: Target | None = None
    """Engine target that must work."""
