"""``lga report``: what was asked for -> the page -> one file."""

from __future__ import annotations

from workers.errors import SettingsError
from workers.report.figures import size
from workers.report.page import Page, render
from workers.report.run_report import run_report
from workers.settings import ReportSettings
from workers.storage import split_uri


def report(settings: ReportSettings) -> int:
    """Write the page and say where it is."""
    data = render(_page(settings))
    store, name = split_uri(settings.html)
    store.put(name, data)
    print(f"{store.uri(name)} ({size(len(data))}): open it in a browser")
    return 0


def _page(settings: ReportSettings) -> Page:
    if settings.compare is not None:
        from workers.report.model_report import comparison_report  # noqa: PLC0415 - a run's report needs no torch

        return comparison_report(settings, *settings.compare)
    if settings.run is not None and settings.output is None:
        raise SettingsError("--run needs --output, where the run is recorded")
    if settings.model is not None and settings.output is not None and settings.run is None:
        raise SettingsError("--model and --output are two reports: give one of them (LGA_* variables count as well)")
    if settings.output is not None:
        return run_report(settings, settings.output)
    if settings.model is not None:
        from workers.report.model_report import model_report  # noqa: PLC0415 - likewise

        return model_report(settings, settings.model)
    raise SettingsError("say what to report on: --output (a run), --model, or --compare A B")
