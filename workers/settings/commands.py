"""Every command and the class of its settings."""

from __future__ import annotations

from workers.settings.compile import CompileSettings
from workers.settings.demo import DemoSettings
from workers.settings.doctor import DoctorSettings
from workers.settings.evaluate import EvaluateSettings
from workers.settings.models import (
    ModelsListSettings,
    ModelsPromoteSettings,
    ModelsRollbackSettings,
    ModelsShowSettings,
)
from workers.settings.prepare import PrepareMisleadingSettings, PrepareStanford40Settings
from workers.settings.runs import RunsListSettings, RunsShowSettings
from workers.settings.score import ScoreSettings
from workers.settings.shared import CommandSettings
from workers.settings.submit import SubmitSettings
from workers.settings.tags import TagsEvaluateSettings, TagsQuerySettings
from workers.settings.train import TrainSettings

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
    "submit": SubmitSettings,
    "doctor": DoctorSettings,
}
"""Each command and the class of its settings."""
