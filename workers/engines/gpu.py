"""The GPU of this machine, as torch sees it."""

from __future__ import annotations

from workers.engines.record import Gpu


def present_gpu() -> tuple[str, str] | None:
    """Name and compute capability of the first GPU, None on a machine without."""
    import torch  # noqa: PLC0415 - seconds, and most records are bound to no GPU

    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    return torch.cuda.get_device_name(), f"{major}.{minor}"


def gpu_misfit(bound_to: Gpu) -> str | None:
    """Why an engine that is bound to GPUs cannot run here, or None when it can."""
    present = present_gpu()
    wanted = bound_to.name or f"a GPU of compute capability {' or '.join(bound_to.compute_capabilities)}"
    if present is None:
        return f"made for {wanted}, and this machine has no GPU"
    name, capability = present
    same_model = bound_to.name in (None, name)
    newer = bound_to.and_newer and any(numbers(capability) >= numbers(each) for each in bound_to.compute_capabilities)
    if same_model and (newer or capability in bound_to.compute_capabilities):
        return None
    return f"made for {wanted}, and this is {name} ({capability})"


def numbers(capability: str) -> tuple[int, ...]:
    """A compute capability to compare by: 12.0 is more than 9.0."""
    return tuple(int(part) for part in capability.split("."))
