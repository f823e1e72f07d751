"""Every command and the class of its settings."""

from __future__ import annotations

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
from workers.settings.report import ReportSettings
from workers.settings.review import ReviewSettings
from workers.settings.runs import RunsListSettings, RunsQuarantineSettings, RunsRetrySettings, RunsShowSettings
from workers.settings.score import ScoreSettings
from workers.settings.shadow import ShadowSettings
from workers.settings.shared import CommandSettings
from workers.settings.submit import SubmitSettings
from workers.settings.tags import TagsEvaluateSettings, TagsExportSettings, TagsQuerySettings
from workers.settings.train import TrainSettings

COMMANDS: dict[str, type[CommandSettings]] = {
    "demo": DemoSettings,
    "prepare stanford40": PrepareStanford40Settings,
    "prepare mpii": PrepareMpiiSettings,
    "prepare coco": PrepareCocoSettings,
    "prepare folders": PrepareFoldersSettings,
    "prepare misleading": PrepareMisleadingSettings,
    "prepare merge": PrepareMergeSettings,
    "review": ReviewSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
    "compile": CompileSettings,
    "score": ScoreSettings,
    "runs list": RunsListSettings,
    "runs show": RunsShowSettings,
    "runs retry": RunsRetrySettings,
    "runs quarantine": RunsQuarantineSettings,
    "tags query": TagsQuerySettings,
    "tags export": TagsExportSettings,
    "tags evaluate": TagsEvaluateSettings,
    "look": LookSettings,
    "report": ReportSettings,
    "shadow": ShadowSettings,
    "models list": ModelsListSettings,
    "models show": ModelsShowSettings,
    "models promote": ModelsPromoteSettings,
    "models rollback": ModelsRollbackSettings,
    "submit": SubmitSettings,
    "models gc": ModelsCollectSettings,
    "doctor": DoctorSettings,
}
"""Each command and the class of its settings."""
