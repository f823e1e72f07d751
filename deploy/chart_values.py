"""The chart's table of values and its strict schema, from ``values.yaml`` and the program's own settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from workers.settings import COMMANDS, CommandSettings, known_settings

CHART = Path(__file__).resolve().parent / "helm" / "lga"
JOBS = {"score": "score", "retrain": "train", "compile": "compile"}
"""Each job of the chart and the command that it runs."""

OPEN_MAPS = {
    "nodeSelector", "affinity", "resources", "labels", "annotations", "podLabels", "podAnnotations",
}  # fmt: skip
"""Objects whose keys are Kubernetes', not ours."""

NARROWER: dict[str, Any] = {
    "mode": {"enum": ["rayJob", "cluster", "rayCronJob"]},
    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "concurrencyPolicy": {"enum": ["Allow", "Forbid", "Replace"]},
    "schedule": {"type": "string", "pattern": r"^(@\w+|(\S+\s+){4}\S+)$"},
    "digest": {"type": "string", "pattern": r"^(sha256:[0-9a-f]{64})?$"},
    "rayVersion": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    "tmpSize": {"type": "string", "minLength": 1},
    "port": {"type": "integer", "minimum": 1024, "maximum": 65535},
}
"""Values that know more than their type."""

OWN_SETTINGS = ("config", "metrics_port", "metrics_host", "ray_address")
"""Settings that the chart makes from other values: ports and policies follow those."""

GROUP_NAME = {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,20}$"}


def values() -> dict[str, Any]:
    """The chart's default values."""
    content: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return content


def schema() -> str:
    """``values.schema.json``: what is not known is refused, down to the settings of each job."""
    document = _schema_of("", values())
    for job, command in JOBS.items():
        properties = document["properties"]["jobs"]["properties"][job]["properties"]
        properties["settings"] = _settings(COMMANDS[command])
        if "ray" in properties:
            properties["ray"] = {"$ref": "#/properties/ray"}
    document["properties"]["settings"] = {
        "type": "object",
        "propertyNames": {"enum": sorted(known_settings() - set(OWN_SETTINGS))},
    }
    document["properties"]["ray"]["properties"]["workerGroups"]["items"]["properties"]["name"] = GROUP_NAME
    document["properties"]["global"] = {"type": "object"}
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **document}, indent=2) + "\n"


def _schema_of(name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401, PLR0911 - any YAML
    if name in NARROWER:
        return dict(NARROWER[name])
    if isinstance(value, dict):
        if name in OPEN_MAPS:
            return {"type": "object"}
        properties = {key: _schema_of(key, inner) for key, inner in value.items()}
        return {"type": "object", "additionalProperties": False, "properties": properties}
    if isinstance(value, list):
        if name == "workerGroups":
            needed = ["name", "replicas", "minReplicas", "maxReplicas", "resources"]
            return {"type": "array", "minItems": 1, "items": {**_schema_of("", value[0]), "required": needed}}
        return {"type": "array"}
    if isinstance(value, bool):
        return {"type": "boolean"}
    return {"type": "integer", "minimum": 0} if isinstance(value, int) else {"type": "string"}


def _settings(command: type[CommandSettings]) -> dict[str, Any]:
    """The settings that the program has; the value itself the program checks. Some are the chart's own."""
    names = [name for name in command.model_fields if name not in OWN_SETTINGS]
    return {"type": "object", "additionalProperties": False, "properties": {name: {} for name in names}}


def readme() -> str:
    """``README.md`` of the chart."""
    rows = [f"| `{key}` | {_shown(default)} | {text} |" for key, default, text in _commented()]
    return "\n".join([_HEAD, "| value | default | |", "|---|---|---|", *rows, ""])


def _shown(default: Any) -> str:  # noqa: ANN401
    text = json.dumps(default)
    return "see values.yaml" if len(text) > 60 else f"`{text}`"  # noqa: PLR2004


def _commented() -> list[tuple[str, Any, str]]:
    """Every value under a ``# --`` comment, in the order of the file: path, default, comment."""
    found: list[tuple[str, Any, str]] = []
    path: list[tuple[int, str]] = []
    comment = ""
    for line in (CHART / "values.yaml").read_text().splitlines():
        text = line.strip()
        if text.startswith("# --"):
            comment = text.removeprefix("# --").strip()
        elif text and not text.startswith(("#", "-")) and ":" in text:
            depth = len(line) - len(line.lstrip())
            path = [*[entry for entry in path if entry[0] < depth], (depth, text.partition(":")[0])]
            if comment:
                found.append((".".join(name for _, name in path), _at([name for _, name in path]), comment))
            comment = ""
    return found


def _at(path: list[str]) -> Any:  # noqa: ANN401
    value: Any = values()
    for name in path:
        value = value[name]
    return value


_HEAD = """# Helm chart of the LGA tagger

    helm install lga deploy/helm/lga --values my-values.yaml
    helm test lga

Needs KubeRay's operator, 1.7 or newer. Scenarios to start from are in `ci/`. Installing or upgrading starts no run:
schedules are suspended until you say otherwise, and a run by hand is `kubectl create job NOW --from=cronjob/lga-score`.
Kubernetes itself makes up for a start that was missed by less than `startingDeadlineSeconds`, also when the schedule
was only just changed or taken out of suspension.

A CronJob starts a small launcher, which creates a RayJob with a cluster of its own and follows it: the state of the
Kubernetes job is the state of the run, `Forbid` forbids two runs at once, and a launcher that is started again finds
the RayJob that is there. `mode: cluster` keeps one RayCluster and submits to it; `mode: rayCronJob` leaves the
schedule to KubeRay (alpha, behind its feature gate, without a concurrency policy).

A run that failed is started `backoffLimit` times more, and continues: tagging by what is written, training since each
start has a `--run` of its own, unless `jobs.retrain.settings.run` gives one. KubeRay looks at no exit code: a setting
that is wrong, or a gate that refuses, costs it a few clusters that end at once. In a standing cluster those are not
started again.

Score and retrain may have machines of their own: what stands under `jobs.retrain.ray` goes before `ray`.

`settings` are the program's own, checked against it: `lga score --help` explains each.

## Values

Written by `python deploy/generate.py` from `values.yaml`.
"""
