"""``docs/metrics.md`` from the registries that the jobs really serve."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from workers.compile.metrics import CompileMetrics
from workers.metrics import LastRun
from workers.score.metrics import ScoreMetrics
from workers.train.metrics import TrainMetrics

HEAD = """# Metrics

Written by `python deploy/generate.py` from the program itself; `make check` compares.

A job serves its live series on `--metrics-port` while it works. Its outcome, `lga_last_run_*`, goes to the file that
`--metrics-file` names (node exporter's textfile collector) and to the Pushgateway that `--pushgateway` names, grouped
by command and pipeline (`--pipeline`). Scrape a Pushgateway with `honor_labels: true`. An attempt that leaves the work
to another one (`--if-running exit`) has no outcome: only the attempt that does the work can succeed.
"""


def registries() -> dict[str, CollectorRegistry]:
    """Each job's own registry, by a title for people."""
    return {
        "While `lga score` runs": ScoreMetrics().registry,
        "While `lga train` runs": TrainMetrics().registry,
        "While `lga compile` runs": CompileMetrics().registry,
        "After a run": LastRun().registry,
    }


def exposed_names() -> set[str]:
    """Names as a query writes them, with ``_total``, ``_bucket``, ``_sum`` and ``_count``."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {
        family.name + suffix
        for registry in registries().values()
        for family in registry.collect()
        for suffix in suffixes.get(family.type, ("",))
    }


def metrics_page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_section(title, registry) for title, registry in registries().items())])


def _section(title: str, registry: CollectorRegistry) -> str:
    lines = [f"## {title}", "", "| metric | type | labels | what it tells |", "|---|---|---|---|"]
    collectors = {name: each for each, names in registry._collector_to_names.items() for name in names}  # noqa: SLF001 - a registry has no other way to tell
    for family in registry.collect():
        collector = collectors[family.name]
        labels = collector._labelnames if isinstance(collector, MetricWrapperBase) else ()  # noqa: SLF001
        name = family.name + ("_total" if family.type == "counter" else "")
        lines.append(f"| `{name}` | {family.type} | {', '.join(labels)} | {family.documentation} |")
    return "\n".join([*lines, ""])
