"""Every setting of every command: flag, then ``LGA_*`` variable, then YAML, then default.

One frozen class for each command, one file for each job; the docstring under a field is its ``--help``. Environment
variables are read in ``reading.py`` and nowhere else (boto3 and Ray read their own).

A YAML file given with ``--config`` or ``LGA_CONFIG`` holds settings at its top level, which every command takes if it
has them, and may hold a section for one command under the command's name, which must fit exactly.
"""

from __future__ import annotations

from workers.settings.commands import COMMANDS
from workers.settings.compile import CompileSettings
from workers.settings.demo import DemoSettings
from workers.settings.doctor import DoctorSettings
from workers.settings.evaluate import EvaluateSettings
from workers.settings.look import LookSettings
from workers.settings.models import (
    ModelsCollectSettings,
    ModelsListSettings,
    ModelsPromoteSettings,
    ModelsRollbackSettings,
    ModelsShowSettings,
)
from workers.settings.prepare import (
    PrepareCocoSettings,
    PrepareFoldersSettings,
    PrepareMergeSettings,
    PrepareMisleadingSettings,
    PrepareMpiiSettings,
    PrepareStanford40Settings,
)
from workers.settings.reading import known_settings, read_settings, settings_of_environment
from workers.settings.report import ReportSettings
from workers.settings.review import ReviewSettings
from workers.settings.runs import RunsListSettings, RunsQuarantineSettings, RunsRetrySettings, RunsShowSettings
from workers.settings.score import ScoreSettings
from workers.settings.shadow import ShadowSettings
from workers.settings.shared import CommandSettings, MetricsSettings
from workers.settings.submit import SubmitSettings
from workers.settings.tags import TagsEvaluateSettings, TagsExportSettings, TagsQuerySettings
from workers.settings.train import TrainSettings

__all__ = [
    "COMMANDS",
    "CommandSettings",
    "CompileSettings",
    "DemoSettings",
    "DoctorSettings",
    "EvaluateSettings",
    "LookSettings",
    "MetricsSettings",
    "ModelsCollectSettings",
    "ModelsListSettings",
    "ModelsPromoteSettings",
    "ModelsRollbackSettings",
    "ModelsShowSettings",
    "PrepareCocoSettings",
    "PrepareFoldersSettings",
    "PrepareMergeSettings",
    "PrepareMisleadingSettings",
    "PrepareMpiiSettings",
    "PrepareStanford40Settings",
    "ReportSettings",
    "ReviewSettings",
    "RunsListSettings",
    "RunsQuarantineSettings",
    "RunsRetrySettings",
    "RunsShowSettings",
    "ScoreSettings",
    "ShadowSettings",
    "SubmitSettings",
    "TagsEvaluateSettings",
    "TagsExportSettings",
    "TagsQuerySettings",
    "TrainSettings",
    "known_settings",
    "read_settings",
    "settings_of_environment",
]
