"""The launcher in the chart, against an API server that answers as it is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "lga" / "files" / "launch.py"


class Api:
    """An API server with RayJobs; each look at one takes the next of its states, or answers with an error."""

    def __init__(self, states: list[tuple[str, str] | int], create: list[int], age_s: float, owners: list[str]) -> None:
        self.states, self.create = iter(states), iter(create)
        self.owners = iter(owners)
        self.created = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[dict] = []
        self.looked = threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, status: int, body: dict) -> None:
                api.asked.append((self.command, self.path.rpartition("/")[2]))
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self) -> None:
                api.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer(next(api.create), {"message": "told so"})

            def do_GET(self) -> None:
                state = next(api.states, ("Running", "RUNNING"))
                if isinstance(state, int):
                    self.answer(state, {"message": "told so"})
                    return
                status = dict(zip(("jobDeploymentStatus", "jobStatus"), state, strict=True))
                spec = {"activeDeadlineSeconds": 3600}
                owner = next(api.owners, "4711")
                metadata = {"creationTimestamp": api.created, "ownerReferences": [{"uid": owner}]}
                self.answer(200, {"metadata": metadata, "spec": spec, "status": status})
                api.looked.set()

            def do_DELETE(self) -> None:
                self.answer(200, {})

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()


@pytest.fixture
def start(tmp_path):
    """Starts the launcher; gives the API server and the process."""
    running = []

    def run(
        name: str,
        *,
        states: list[tuple[str, str] | int],
        create: list[int],
        age_s: float = 0,
        owners: tuple[str, ...] = (),
    ) -> tuple[Api, subprocess.Popen[str]]:
        api = Api(states, create, age_s, list(owners))
        path = tmp_path / "score.json"
        spec = {"entrypoint": "python -m workers train --run retrain-$(JOB_UID)"}
        path.write_text(json.dumps({"kind": "RayJob", "metadata": {"labels": {}}, "spec": spec}))
        environment = {
            "LGA_API_SERVER": f"http://127.0.0.1:{api.server.server_port}",
            "LGA_ACCOUNT": str(tmp_path), "LGA_LOOK_EVERY_S": "0.01", "NAMESPACE": "tagging",
            "JOB_UID": "4711",
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, PROGRAM, path, name], env=os.environ | environment, stdout=subprocess.PIPE, text=True
        )
        running.append(api)
        return api, process

    yield run
    for api in running:
        api.server.shutdown()
        api.server.server_close()


@pytest.mark.parametrize(
    ("last", "code"), [(("Complete", "SUCCEEDED"), 0), (("Failed", "FAILED"), 5), (("Complete", "STOPPED"), 5)]
)
def test_the_outcome_of_the_run_is_that_of_the_launcher(start, last, code):
    """
    Created once under the name of the Kubernetes job, followed to its end.
    """
    api, process = start("lga-score-29", states=[("Initializing", ""), ("Running", "RUNNING"), last], create=[201])
    told = process.communicate(timeout=30)[0]

    assert code == process.returncode, told
    assert "lga-score-29" == api.bodies[0]["metadata"]["name"]
    assert 1 == len(api.bodies)
    assert api.bodies[0]["spec"]["entrypoint"].endswith("--run retrain-4711")


def test_the_kubernetes_job_owns_the_run(start):
    """
    By its whole name and its uid: when its history ends, Kubernetes deletes the RayJob too.
    """
    job = "x" * 50 + "-29384756"
    api, process = start(job, states=[("Complete", "SUCCEEDED")], create=[201])
    process.communicate(timeout=30)

    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": "4711"}
    assert [owner] == api.bodies[0]["metadata"]["ownerReferences"]


def test_a_second_launcher_follows_the_run_of_the_first(start):
    """
    The RayJob is there already: nothing is started twice.
    """
    _, process = start("lga-score-29", states=[("Running", "RUNNING"), ("Complete", "SUCCEEDED")], create=[409])

    assert "is there already" in process.communicate(timeout=30)[0]
    assert 0 == process.returncode


def test_the_run_of_an_earlier_start_of_that_name_is_not_followed(start):
    """
    One that was done would be taken for this start's: the launcher waits until Kubernetes has collected it.
    """
    done = ("Complete", "SUCCEEDED")
    states = [done, ("Failed", "FAILED")]
    api, process = start("lga-score-29", states=states, create=[409, 201], owners=("0815",))
    told = process.communicate(timeout=30)[0]

    assert (5, 2) == (process.returncode, len(api.bodies)), told
    assert "created the RayJob" in told


def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(start):
    """
    503 and 429 pass; 403 is told and ends it.
    """
    api, process = start("n", states=[("Complete", "SUCCEEDED")], create=[503, 429, 201])
    process.communicate(timeout=30)
    assert (0, 3) == (process.returncode, len(api.bodies))
    api, process = start("n", states=[], create=[403])
    told = process.communicate(timeout=30)[0]

    assert (5, 1) == (process.returncode, len(api.bodies))
    assert "told so" in told


def test_a_launcher_that_is_ended_leaves_its_run_alone(start):
    """
    A node that is drained must not end a run of hours: the next launcher follows it.
    """
    api, process = start("lga-score-29", states=[], create=[201])
    api.looked.wait(30)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert -signal.SIGTERM == process.returncode
    assert "DELETE" not in {method for method, _ in api.asked}


def test_a_run_that_had_its_time_is_ended(start):
    """
    KubeRay counts anew for each new cluster; the launcher counts from the creation of the RayJob.
    """
    api, process = start("lga-score-29", states=[], create=[409], age_s=3700)
    told = process.communicate(timeout=30)[0]

    assert 5 == process.returncode
    assert "had its time" in told
    assert ("DELETE", "lga-score-29") == api.asked[-1]


def test_a_run_that_cannot_be_seen_is_told_once_and_looked_for_again(start):
    """
    An API server that is away, or takes a right away for a while, ends nothing; a RayJob that somebody deleted does.
    """
    _, process = start("n", states=[500, 403, 403, ("Running", "RUNNING"), 404], create=[201])
    told = process.communicate(timeout=30)[0]

    assert 5 == process.returncode
    assert 1 == told.count("cannot look at the RayJob n (403)")
    assert told.endswith("the RayJob n was deleted\n")


def test_a_long_name_keeps_its_end(start):
    """
    KubeRay takes 47 characters; the end is what tells one start from another.
    """
    api, process = start("x" * 50 + "-29384756", states=[("Complete", "SUCCEEDED")], create=[201])
    process.communicate(timeout=30)
    name = api.bodies[0]["metadata"]["name"]

    assert 47 == len(name)
    assert name.endswith("-29384756")
