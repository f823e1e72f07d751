"""The whole path of ``lga doctor``: one check after the other, a table, an exit code."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from workers.console import result_console
from workers.doctor.checks import (
    Finding,
    check_engines,
    check_gpu,
    check_packages,
    check_ray,
    check_registry,
    check_store,
)
from workers.settings import DoctorSettings

SYMBOLS = {True: Text("works", "green"), False: Text("fails", "red"), None: Text("absent", "dim")}


def examine(settings: DoctorSettings) -> int:
    """Print what works here. Returns 1 when something that is needed or was asked for does not, else 0."""
    findings = [*check_packages(), check_gpu(), check_ray(), *check_engines(settings.target)]
    if settings.store is not None:
        findings.append(check_store(settings.store))
    if "registry" in settings.model_fields_set:  # There need be none where the default is.
        findings.append(check_registry(settings.registry))
    _print(findings)
    return int(any(finding.works is not True and finding.needed for finding in findings))


def _print(findings: list[Finding]) -> None:
    table = Table(title="What works here", title_justify="left")
    for column in ("part", "state", "what was found"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        # The [name] of an extra or of a folder is no markup.
        table.add_row(Text(finding.part), SYMBOLS[finding.works], Text(finding.detail))
    result_console().print(table)
