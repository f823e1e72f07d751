"""The chart, rendered for every scenario: what comes out is what Kubernetes, KubeRay and the program accept."""

from __future__ import annotations

import copy
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workers.settings import COMMANDS, read_settings
from workers.submit.request import job_request

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
GROUP = {"name": "g", "replicas": 1, "minReplicas": 1, "maxReplicas": 1, "resources": {}}
"""Workers as few words as the schema takes."""
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
        "retrain": {
            "enabled": True,
            "settings": {"manifest": "s3://m/train.parquet", "name": "stanford40", "output": "s3://m/training"},
        },
        "compile": {"enabled": True, "settings": {"model": "stanford40:1"}},
    }
    return merged(values, {"jobs": more, "settings": {"registry": "s3://models/registry"}})


def texts_of(values: dict, name: str = "lga") -> dict[str, str]:
    """Every file of the chart, filled in."""
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        return chart.render(values, name=name, namespace="tagging")


def render(values: dict, name: str = "lga") -> list[dict]:
    texts = [text for path, text in texts_of(values, name).items() if not path.endswith("NOTES.txt")]
    return [document for text in texts for document in yaml.load_all(text, yaml.CSafeLoader) if document]


MATRIX = [
    pytest.param(path, mode, everything, id=f"{path.stem}-{mode}-{'all' if everything else 'plain'}")
    for path in SCENARIOS
    for mode in MODES
    for everything in (False, True)
]


@functools.cache
def rendered(path: Path, mode: str, everything: bool) -> list[dict]:
    """One cell of the matrix, with all three jobs; rendered once, looked at by several tests."""
    values = all_jobs(scenario(path, mode=mode, **(EVERYTHING if everything else {})))
    # Pairs that the chart refuses; see below.
    if mode == "rayCronJob" or values["ray"].get("autoscaling", True):
        values["kueueQueue"] = ""
    if mode == "cluster":
        for job in values["jobs"].values():
            job.pop("ray", None)
    return render(values)


@functools.cache
def validate(text: str, version: str) -> None:
    """Hold an object (JSON) to the schemas of a release; the same object of two cells once."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


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


def settings_files(documents: list[dict]) -> dict[str, str]:
    """The settings of each job, as the program reads them."""
    (files,) = (one["data"] for one in documents if one["metadata"]["name"] == "lga-settings")
    return files


@pytest.mark.parametrize(("path", "mode", "everything"), MATRIX)
def test_kubernetes_accepts_every_object(path, mode, everything):
    """
    Strictly, by the schemas of an old and a new release; every name is unique among its kind and fits.
    """
    documents = rendered(path, mode, everything)
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]

    for document in documents:
        if document["apiVersion"] in BUILT_IN:
            for version in ("1.28", "1.37"):
                validate(json.dumps(document, sort_keys=True), version)
    assert len(names) == len(set(names))
    assert all(len(name) <= 36 for kind, name in names if kind in {"CronJob", "RayCronJob"})
    for pod in pods(documents):
        wrapped = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}
        validate(json.dumps(wrapped, sort_keys=True), "1.34")


def test_kuberay_and_prometheus_operator_accept_every_object(tmp_path):
    """
    By the schemas of their custom resources, unknown fields refused; also what the launchers create, and what is made
    of a RayCronJob by hand.
    """
    if not (SHARED / "crds").is_dir():
        pytest.skip(f"needs the schemas of the custom resources; none at {SHARED / 'crds'}")
    custom = {}
    for parameters in MATRIX:
        documents = rendered(*parameters.values)
        created = [merged(job, {"metadata": {"name": "created"}}) for job in created_by_launchers(documents)]
        created += [
            {
                "apiVersion": one["apiVersion"],
                "kind": "RayJob",
                "metadata": {"name": "n"},
                "spec": one["spec"]["jobTemplate"],
            }
            for one in documents
            if one["kind"] == "RayCronJob"
        ]
        for document in [*documents, *created]:
            if document["apiVersion"] not in BUILT_IN:
                custom[json.dumps(document, sort_keys=True)] = document
    path = tmp_path / "custom.yaml"
    path.write_text(yaml.dump_all(custom.values(), Dumper=yaml.CSafeDumper))
    # One process for all of them: reading the schemas takes seconds.
    done = subprocess.run(
        [sys.executable, SHARED / "tools" / "crd_validate.py", SHARED / "crds", path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stdout
    for kind in ("RayJob", "RayCluster", "RayCronJob", "PodMonitor", "PrometheusRule"):
        assert f" {kind} " in done.stdout


@pytest.mark.parametrize(("path", "mode", "everything"), MATRIX)
def test_every_pod_is_restricted(path, mode, everything):
    """
    The pod security standard "restricted": no root, no escalation, no capability, a read-only root file system.
    """
    found = pods(rendered(path, mode, everything))

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


@pytest.mark.parametrize(("path", "mode", "everything"), MATRIX)
def test_the_program_accepts_its_settings(path, mode, everything, tmp_path):
    """
    The file of each job is one that its command takes, with the schedule's name and deadline in it.
    """
    files = settings_files(rendered(path, mode, everything))

    assert {"score.yaml", "retrain.yaml", "compile.yaml"} == files.keys()
    for name, text in files.items():
        job = name.removesuffix(".yaml")
        config = tmp_path / name
        config.write_text(text)
        command = COMMAND_OF[job]
        settings = read_settings(COMMANDS[command], command, ["--config", str(config)])
        assert (f"lga-{job}", "json") == (settings.pipeline, settings.log_format)
        assert settings.deadline_s


def test_what_all_jobs_share_needs_no_second_word(tmp_path):
    """
    What a job leaves empty, as the chart does, comes from the settings that all share.
    """
    shared = {"input": "s3://photographs", "output": "s3://tags", "model": "pose@production", "registry": "s3://models"}
    config = tmp_path / "score.yaml"
    config.write_text(settings_files(render({"settings": shared, "ray": scenario()["ray"]}))["score.yaml"])
    settings = read_settings(COMMANDS["score"], "score", ["--config", str(config)])

    assert shared == {name: getattr(settings, name) for name in shared}


def test_a_standing_cluster_is_given_what_the_program_takes(tmp_path, monkeypatch):
    """
    The launcher's words, with its settings file, are a submission: named after the start, continued when it failed,
    stopped when its Kubernetes job is.
    """
    documents = render(all_jobs(scenario(mode="cluster")))
    uid = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
    for job in ("score", "retrain"):
        config = tmp_path / f"{job}.yaml"
        config.write_text(settings_files(documents)[f"{job}.yaml"])
        monkeypatch.setenv("LGA_CONFIG", str(config))
        (pod,) = (pod for pod in pods(documents) if pod["containers"][0]["name"] == job)
        words = [word.replace("$(JOB_UID)", uid) for word in pod["containers"][0]["args"]]
        settings = read_settings(COMMANDS["submit"], "submit", words[2:])
        request = job_request(settings, {})

        assert ["lga", "submit"] == words[:2]
        assert ("http://lga-head-svc:8265", True, True) == (
            settings.address, settings.again, settings.stop_on_interrupt,
        )  # fmt: skip
        assert f"{job}-{uid}" == request.name
        assert request.entrypoint.endswith(f"--config /etc/lga/{job}.yaml")
        # The job is stopped before the launcher that waits for it is killed.
        assert pod["terminationGracePeriodSeconds"] > int(request.runtime_env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"])


def test_only_a_schedule_that_runs_can_be_missed():
    """
    The alert LgaScheduleMissed needs a period; a job that is suspended has none.
    """
    files = settings_files(render(all_jobs(scenario(jobs={"score": {"suspend": False}}))))

    assert 86400 == yaml.safe_load(files["score.yaml"])["score"]["period_s"]
    assert "period_s" not in yaml.safe_load(files["retrain.yaml"])["train"]


def test_each_job_has_its_own_machines():
    """
    Workers, head and autoscaling of one job over those of all; the other job keeps what all have.
    """
    own = {
        "autoscaling": True,
        "head": {"nodeSelector": {"size": "large"}},
        "workerGroups": [{**GROUP, "name": "train", "replicas": 2, "maxReplicas": 8}],
    }
    documents = render(all_jobs(scenario(jobs={"retrain": {"ray": own}})))
    score, retrain = sorted(
        (job["spec"] for job in created_by_launchers(documents)), key=lambda spec: "train" in spec["entrypoint"]
    )
    clusters = score["rayClusterSpec"], retrain["rayClusterSpec"]

    assert [["cpu"], ["train"]] == [[group["groupName"] for group in one["workerGroupSpecs"]] for one in clusters]
    assert [False, True] == [one["enableInTreeAutoscaling"] for one in clusters]
    heads = [one["headGroupSpec"]["template"]["spec"] for one in clusters]
    assert [None, {"size": "large"}] == [head.get("nodeSelector") for head in heads]
    assert heads[0]["containers"][0]["resources"] == heads[1]["containers"][0]["resources"]


@pytest.mark.parametrize("mode", MODES)
def test_a_training_that_is_started_again_continues(mode):
    """
    Its run has a name that belongs to the start: another start of KubeRay or Kubernetes continues it, the next
    schedule's does not. A name in the settings is left alone.
    """

    def commands(**settings: str) -> list[str]:
        documents = render(all_jobs(scenario(mode=mode, jobs={"retrain": {"settings": settings}})))
        jobs = created_by_launchers(documents) + [
            {"spec": one["spec"]["jobTemplate"]} for one in documents if one["kind"] == "RayCronJob"
        ]
        pod = [one["containers"][0] for one in pods(documents)]
        submissions = [" ".join(one["args"]) for one in pod if "submit" in one.get("args", ())]
        return [found for found in [job["spec"]["entrypoint"] for job in jobs] + submissions if " train" in found]

    unique = {"rayCronJob": "${RAY_CLUSTER_NAME%-*}"}.get(mode, "retrain-$(JOB_UID)")
    assert [True] == [f"train --run {unique}" in command for command in commands()]
    assert [False] == ["--run" in command for command in commands(run="mine")]


def test_the_objects_of_ray_lie_in_memory():
    """
    /dev/shm takes three tenths of a container's memory, which Ray asks for; or else Ray uses a disk.
    """
    for parameters in MATRIX:
        for pod in pods(rendered(*parameters.values)):
            (shm,) = (volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm")
            assert {"medium": "Memory", "sizeLimit": pod["containers"][0]["resources"]["limits"]["memory"]} == shm


def test_a_drained_node_is_no_failure_and_a_deadline_is_one():
    """
    A launcher that has to move is started again; Kubernetes ends it later than it looks at the time itself. Whole
    numbers stay whole, however large.
    """
    fortnight = 14 * 86400
    changed = {"jobs": {"score": {"activeDeadlineSeconds": fortnight}, "compile": {"activeDeadlineSeconds": fortnight}}}
    for mode in MODES:
        for one in render(all_jobs(scenario(mode=mode, **changed))):
            if one["kind"] == "CronJob":
                job, name = one["spec"]["jobTemplate"]["spec"], one["metadata"]["name"]
                assert "Ignore" == job["podFailurePolicy"]["rules"][0]["action"]
                assert isinstance(job["activeDeadlineSeconds"], int)
                if name != "lga-retrain":
                    later = 300 if (mode, name) == ("rayJob", "lga-score") else 0
                    assert fortnight + later == job["activeDeadlineSeconds"]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_started_by_installing(mode):
    """
    No Job, no RayJob, no pod but the test's: an upgrade cannot start a run; schedules are suspended by default.
    """
    documents = render(all_jobs(scenario(mode=mode)))

    assert not {"Job", "RayJob", "Deployment"} & {document["kind"] for document in documents}
    assert ["test"] == [one["metadata"]["annotations"]["helm.sh/hook"] for one in documents if one["kind"] == "Pod"]
    assert all(one["spec"]["suspend"] for one in documents if one["kind"] in {"CronJob", "RayCronJob"})


@pytest.mark.parametrize("mode", MODES)
def test_the_notes_say_how_to_start_each_job_by_hand(mode):
    """
    With the objects that are there in this mode; and that nobody is told of a failure without a Pushgateway.
    """
    values = all_jobs(scenario(mode=mode))
    (notes,) = (text for path, text in texts_of(values).items() if path.endswith("NOTES.txt"))
    schedules = {
        (one["kind"].lower(), one["metadata"]["name"])
        for one in render(values)
        if one["kind"] in {"CronJob", "RayCronJob"}
    }

    assert schedules == set(re.findall(r"(cronjob|raycronjob)[/ ](lga-\w+)", notes))
    assert "`pushgateway` is not set" in notes


def test_only_the_launcher_may_start_runs():
    """
    Its role names RayJobs alone, and no secret, no pod, no wildcard; its account is no run's; other modes have none.
    """
    documents = render(scenario())
    roles = [one for one in documents if one["kind"] == "Role"]
    (binding,) = (one for one in documents if one["kind"] == "RoleBinding")

    assert [[{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get", "delete"]}]] == [
        role["rules"] for role in roles
    ]
    assert ["lga-launcher"] == [one["name"] for one in binding["subjects"]]
    assert [] == [one for one in render(scenario(mode="cluster")) if one["kind"] in {"Role", "RoleBinding"}]


@pytest.mark.parametrize("autoscaling", [False, True])
def test_a_pod_that_decodes_photographs_holds_no_token_of_kubernetes(autoscaling):
    """
    The launcher has one, and the head where the autoscaler stands beside it; workers, compile and the test have none.
    """
    values = all_jobs(scenario(ray={"autoscaling": autoscaling}))
    account_of = {
        (pod["containers"][0]["name"], pod["automountServiceAccountToken"]): pod["serviceAccountName"]
        for pod in pods(render(values))
    }

    assert {
        ("score", True): "lga-launcher",
        ("retrain", True): "lga-launcher",
        ("ray-head", autoscaling): "lga",
        ("ray-worker", False): "lga",
        ("compile", False): "lga",
        ("doctor", False): "lga",
    } == account_of


@pytest.mark.parametrize("enabled", [True, False])
def test_ray_is_closed_to_whoever_has_no_token(enabled):
    """
    KubeRay makes the token; in a standing cluster the launcher reads it from the secret that KubeRay names.
    """
    documents = render(scenario(mode="cluster", ray={"tokenAuth": enabled}))
    (cluster,) = (one for one in documents if one["kind"] == "RayCluster")
    (container,) = (pod["containers"][0] for pod in pods(documents) if pod["containers"][0]["name"] == "score")
    variables = {one["name"]: one for one in container["env"]}

    assert ({"mode": "token"} if enabled else None) == cluster["spec"].get("authOptions")
    assert enabled == ("RAY_AUTH_MODE" in variables)
    if enabled:
        assert {"name": "lga", "key": "auth_token"} == variables["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]


def test_drivers_that_share_a_head_do_not_share_a_port():
    """
    In a standing cluster retrain serves its metrics beside score; both ports are open and scraped.
    """
    documents = render(all_jobs(scenario(mode="cluster", metrics={"podMonitor": {"enabled": True}})))
    files = settings_files(documents)
    (monitor,) = (one for one in documents if one["kind"] == "PodMonitor")
    (cluster,) = (one for one in documents if one["kind"] == "RayCluster")
    (head,) = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"]
    served = {yaml.safe_load(text).get(job, {}).get("metrics_port") for job, text in (
        ("score", files["score.yaml"]), ("train", files["retrain.yaml"])
    )}  # fmt: skip
    open_ports = {port["name"]: port["containerPort"] for port in head["ports"]}

    assert {9400, 9401} == served
    assert served == {open_ports[endpoint["port"]] for endpoint in monitor["spec"]["podMetricsEndpoints"]}


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("", "runbook.md#"),
        ("https://runbooks.example.com/lga", "https://runbooks.example.com/lga/runbook.md#"),
        ("https://runbooks.example.com/lga/", "https://runbooks.example.com/lga/runbook.md#"),
    ],
)
def test_alerts_lead_to_the_runbook(base, url):
    """
    Whether the address ends in a slash or not.
    """
    documents = render(scenario(metrics={"prometheusRule": {"enabled": True, "runbookBaseUrl": base}}))
    (rules,) = (one for one in documents if one["kind"] == "PrometheusRule")
    urls = [
        rule["annotations"]["runbook_url"]
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]

    assert urls
    assert all(each.startswith(url) for each in urls)


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


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"jobs": {"score": {"settings": {"input": ""}}}}, "jobs.score.settings.input is needed"),
        ({"jobs": {"score": {"settings": {"registry": ""}}}}, "jobs.score.settings.registry is needed"),
        ({"jobs": {"retrain": {"enabled": True, "settings": {"manifest": "m", "name": "n"}}}}, "registry is needed"),
        ({"jobs": {"score": {"settings": {"shard_rowz": 3}}}}, "shard_rowz"),
        ({"jobs": {"score": {"concurrencyPolicy": "Sometimes"}}}, "concurrencyPolicy"),
        ({"jobs": {"scores": {}}}, "scores"),
        ({"mode": "deployment"}, "mode"),
        ({"image": {"digest": "sha256:1"}}, "digest"),
        ({"ray": {"workerGroups": [{**GROUP, "maxReplicas": 3}]}}, "without autoscaling"),
        ({"ray": {"workerGroups": [GROUP, GROUP]}}, "two worker groups are called"),
        (
            {"ray": {"autoscaling": True, "workerGroups": [{**GROUP, "minReplicas": 2}]}},
            "minReplicas is above maxReplicas",
        ),
        ({"ray": {"workerGroups": [{"name": "g"}]}}, "replicas"),
        ({"networkPolicy": {"enabled": True, "allowFrom": []}}, "allowFrom"),
        ({"settings": {"log_formad": "json"}}, "log_formad"),
        ({"ray": {"autoscaling": True, "workerGroups": [{**GROUP, "replicas": 0, "minReplicas": 0}]}}, "above 0"),
        ({"mode": "rayCronJob", "kueueQueue": "tagging"}, "no queue would admit"),
        ({"kueueQueue": "tagging", "ray": {"autoscaling": True}}, "Kueue admits no cluster"),
        ({"ray": {"workerGroups": [{**GROUP, "name": "head"}]}}, "cannot be called head"),
        ({"mode": "cluster", "jobs": {"score": {"ray": {"autoscaling": False}}}}, "jobs.score.ray: with mode cluster"),
        ({"jobs": {"score": {"ray": {"workerGroups": [GROUP, GROUP]}}}}, "jobs.score.ray: two worker groups"),
        ({"jobs": {"score": {"ray": {"autoscalling": True}}}}, "autoscalling"),
        ({"jobs": {"score": {"nodeSelector": {}}}}, "nodeSelector"),
        ({"jobs": {"score": {"settings": {"metrics_port": 9999}}}}, "metrics_port"),
        ({"tmpSize": ""}, "tmpSize"),
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
