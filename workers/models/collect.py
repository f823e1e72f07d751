"""``lga models gc``: delete versions that nobody needs, or say which."""

from __future__ import annotations

from datetime import timedelta

from rich.table import Table

from workers.console import result_console
from workers.registry import Registry
from workers.settings import ModelsCollectSettings

_MIB = 1 << 20


def collect_models(settings: ModelsCollectSettings) -> int:
    """Print every version that may go, with the reason, and delete it unless ``dry_run``."""
    registry = Registry(settings.registry)
    names = registry.names() if settings.name is None else [settings.name]
    table = Table(title=f"{'would go' if settings.dry_run else 'gone'} from {registry.uri}")
    for column, justify in (("model", "left"), ("why", "left"), ("MiB", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    freed_bytes = 0
    for name in names:
        for garbage in registry.garbage(name, keep=settings.keep, min_age=timedelta(days=settings.min_age_days)):
            if not settings.dry_run and not registry.collect(name, garbage):
                continue
            freed_bytes += garbage.size_bytes
            table.add_row(f"{name}:{garbage.number}", garbage.reason, f"{garbage.size_bytes / _MIB:.1f}")
    if not table.row_count:
        print(f"{registry.uri}: every version is needed, among the newest {settings.keep}, or too young to go")
        return 0
    result_console().print(table)
    print(f"{freed_bytes / _MIB:.1f} MiB {'would be' if settings.dry_run else ''} freed".replace("  ", " "))
    return 0
