"""The chart, rendered for every scenario: what comes out is what Kubernetes, KubeRay and the program accept."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workers.settings import COMMANDS, read_settings

helm = pytest.importorskip("helm_python")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "lga"
SCENARIOS = sorted((CHART / "ci").glob("*-values.yaml"))
MODES = ("rayJob", "cluster", "rayCronJob")
SHARED = ROOT.parent / "shared"
COMMAND_OF = {"score": "score", "retrain": "train", "compile": "compile"}
EVERYTHING = {
    "pushgateway": "pushgateway:9091",
    "networkPolicy": {"enabled": True},
    "kueueQueue": "tagging",
    "priorityClassName": "low",
    "engineCacheClaim": "engines",
    "imagePullSecrets": [{"name": "registry"}],
    "podLabels": {"team": "photographs"},
    "podAnnotations": {"example.com/note": "yes"},
    "extraEnvFrom": [{"secretRef": {"name": "more"}}],
    "metrics": {
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True},
    },
}
"""Every switch."""
BUILT_IN = {"v1", "batch/v1", "rbac.authorization.k8s.io/v1", "networking.k8s.io/v1"}


def scenario(path: Path = SCENARIOS[0], **changed) -> dict:
    return merged(yaml.safe_load(path.read_text()), changed)


def merged(base: dict, changed: dict) -> dict:
    result = copy.deepcopy(base)
    for name, value in changed.items():
        both = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if both else value
    return result


def all_jobs(values: dict) -> dict:
    """The scenario with all three jobs."""
    more = {
        "retrain": {"enabled": True, "settings": {"manifest": "s3://m/train.parquet", "name": "stanford40"}},
        "compile": {"enabled": True, "settings": {"model": "stanford40:1"}},
    }
    return merged(values, {"jobs": more})


def render(values: dict, name: str = "lga") -> list[dict]:
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name=name, namespace="tagging")
    texts = [text for path, text in files.items() if not path.endswith("NOTES.txt")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


MATRIX = [
    pytest.param(all_jobs(scenario(path, mode=mode, **more)), id=f"{path.stem}-{mode}-{'all' if more else 'plain'}")
    for path in SCENARIOS
    for mode in MODES
    for more in ({}, EVERYTHING)
]


def pods(documents: list[dict]) -> list[dict]:
    """The specification of every pod that any object makes, also those that a launcher creates later."""
    found = []
    for document in documents:
        created = [json.loads(text) for name, text in document.get("data", {}).items() if name.endswith(".json")]
        for each in [document, *(one for one in created if one.get("kind") == "RayJob")]:
            spec = each.get("spec", {})
            if each["kind"] == "Pod":
                found.append(spec)
            elif each["kind"] == "CronJob":
                found.append(spec["jobTemplate"]["spec"]["template"]["spec"])
            elif each["kind"].startswith("Ray"):
                cluster = spec if each["kind"] == "RayCluster" else spec.get("jobTemplate", spec)["rayClusterSpec"]
                groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
                found += [group["template"]["spec"] for group in groups]
    return found


def created_by_launchers(documents: list[dict]) -> list[dict]:
    return [
        json.loads(text)
        for document in documents
        if document["kind"] == "ConfigMap"
        for name, text in document["data"].items()
        if name in {"score.json", "retrain.json"}
    ]


@pytest.mark.parametrize("values", MATRIX)
def test_kubernetes_accepts_every_object(values):
    """
    Strictly, by the schemas of an old and a new release; every name is unique among its kind and fits.
    """
    documents = render(values)
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]

    for document in documents:
        if document["apiVersion"] in BUILT_IN:
            for version in ("1.28", "1.37"):
                kubernetes_validate.validate(document, version, strict=True)
    assert len(names) == len(set(names))
    assert all(len(name) <= 36 for kind, name in names if kind in {"CronJob", "RayCronJob"})
    for pod in pods(documents):
        wrapped = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}
        kubernetes_validate.validate(wrapped, "1.34", strict=True)


def test_kuberay_and_prometheus_operator_accept_every_object(tmp_path):
    """
    By the schemas of their custom resources, unknown fields refused; also what the launchers create.
    """
    if not (SHARED / "crds").is_dir():
        pytest.skip(f"needs the schemas of the custom resources; none at {SHARED / 'crds'}")
    for number, parameters in enumerate(MATRIX):
        documents = render(parameters.values[0])
        created = [merged(job, {"metadata": {"name": "created"}}) for job in created_by_launchers(documents)]
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump_all([*documents, *created]))
    # One process for all of them: reading the schemas takes seconds.
    done = subprocess.run(
        [sys.executable, SHARED / "tools" / "crd_validate.py", SHARED / "crds", *sorted(tmp_path.glob("*.yaml"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stdout
    for kind in ("RayJob", "RayCluster", "RayCronJob", "PodMonitor", "PrometheusRule"):
        assert f" {kind} " in done.stdout


@pytest.mark.parametrize("values", MATRIX)
def test_every_pod_is_restricted(values):
    """
    The pod security standard "restricted": no root, no escalation, no capability, a read-only root file system.
    """
    found = pods(render(values))

    assert found
    for pod in found:
        security = pod["securityContext"]
        assert (True, 1000, "RuntimeDefault") == (
            security["runAsNonRoot"], security["runAsUser"], security["seccompProfile"]["type"],
        )  # fmt: skip
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
        for container in pod["containers"]:
            own = container["securityContext"]
            assert (False, True, ["ALL"]) == (
                own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"], own["capabilities"]["drop"],
            )  # fmt: skip
            assert {"requests", "limits"} <= container["resources"].keys()


@pytest.mark.parametrize("values", MATRIX)
def test_the_program_accepts_its_settings(values, tmp_path):
    """
    The file of each job is one that its command takes, with the schedule's name, period and deadline in it.
    """
    (files,) = (one["data"] for one in render(values) if one["metadata"]["name"] == "lga-settings")

    assert {"score.yaml", "retrain.yaml", "compile.yaml"} == files.keys()
    for name, text in files.items():
        job = name.removesuffix(".yaml")
        path = tmp_path / name
        path.write_text(text)
        command = COMMAND_OF[job]
        settings = read_settings(COMMANDS[command], command, ["--config", str(path)])
        assert (f"lga-{job}", "json") == (settings.pipeline, settings.log_format)
        assert settings.period_s
        assert settings.deadline_s


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_started_by_installing(mode):
    """
    No Job, no RayJob, no pod but the test's: an upgrade cannot start a run; schedules are suspended by default.
    """
    documents = render(all_jobs(scenario(mode=mode)))

    assert not {"Job", "RayJob", "Deployment"} & {document["kind"] for document in documents}
    assert ["test"] == [one["metadata"]["annotations"]["helm.sh/hook"] for one in documents if one["kind"] == "Pod"]
    assert all(one["spec"]["suspend"] for one in documents if one["kind"] in {"CronJob", "RayCronJob"})


def test_the_launcher_may_do_nothing_else():
    """
    Its role names RayJobs alone, and no secret, no pod, no wildcard; other modes have none.
    """
    roles = [one for one in render(scenario()) if one["kind"] == "Role"]

    assert [[{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get", "delete"]}]] == [
        role["rules"] for role in roles
    ]
    assert [] == [one for one in render(scenario(mode="cluster")) if one["kind"] in {"Role", "RoleBinding"}]


def test_the_object_store_reaches_every_pod_without_its_secret():
    """
    Endpoint and region as variables, keys by the name of a secret that is there already; none is in the chart.
    """
    values = scenario(s3={"endpoint": "https://minio:9000", "region": "us-east-1", "existingSecret": "keys"})
    documents = render(values)

    for pod in pods(documents):
        (container,) = pod["containers"]
        variables = {one["name"]: one.get("value") for one in container["env"]}
        assert "https://minio:9000" == variables["AWS_ENDPOINT_URL_S3"]
        assert {"secretRef": {"name": "keys"}} in container["envFrom"]
    assert [] == [one for one in documents if one["kind"] == "Secret"]


GROUP = {"name": "g", "replicas": 1, "minReplicas": 1, "maxReplicas": 1, "resources": {}}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"jobs": {"score": {"settings": {"input": ""}}}}, "jobs.score.settings.input is needed"),
        ({"jobs": {"score": {"settings": {"shard_rowz": 3}}}}, "shard_rowz"),
        ({"jobs": {"score": {"concurrencyPolicy": "Sometimes"}}}, "concurrencyPolicy"),
        ({"jobs": {"scores": {}}}, "scores"),
        ({"mode": "deployment"}, "mode"),
        ({"image": {"digest": "sha256:1"}}, "digest"),
        ({"ray": {"workerGroups": [{**GROUP, "maxReplicas": 3}]}}, "without ray.autoscaling"),
        ({"ray": {"workerGroups": [GROUP, GROUP]}}, "two worker groups are called"),
        (
            {"ray": {"autoscaling": True, "workerGroups": [{**GROUP, "minReplicas": 2}]}},
            "minReplicas is above maxReplicas",
        ),
        ({"ray": {"workerGroups": [{"name": "g"}]}}, "replicas"),
        ({"networkPolicy": {"enabled": True, "allowFrom": []}}, "allowFrom"),
        ({"settings": {"log_formad": "json"}}, "log_formad"),
    ],
)
def test_what_cannot_work_is_refused_by_name(changed, told):
    """
    A wrong value fails the installation with a sentence, and not a pod hours later.
    """
    with pytest.raises(helm.HelmError, match=told):
        render(scenario(**changed))


def test_a_release_name_that_kuberay_refuses_is_told():
    """
    Names of services start with a letter.
    """
    with pytest.raises(helm.HelmError, match="start with a letter"):
        render(scenario(), name="1st")


@pytest.mark.parametrize("values", SCENARIOS, ids=lambda path: path.stem)
def test_helm_itself_has_nothing_to_say(program, values):
    """
    `helm lint --strict` and `helm template` of the real program, for each scenario.
    """
    for command in (["lint", "--strict", CHART], ["template", "lga", CHART]):
        done = subprocess.run(
            [program("helm"), *command, "--values", values], capture_output=True, text=True, check=False
        )
        assert 0 == done.returncode, done.stdout + done.stderr
