"""The launcher in the chart, against an API server that answers as it is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "lga" / "files" / "launch.py"


class Api:
    """An API server with RayJobs; each look at one takes the next of its states."""

    def __init__(self, states: list[tuple[str, str]], create: list[int]) -> None:
        self.states, self.create = iter(states), iter(create)
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
                deployment, job = next(api.states, ("Running", "RUNNING"))
                self.answer(200, {"status": {"jobDeploymentStatus": deployment, "jobStatus": job}})
                api.looked.set()

            def do_DELETE(self) -> None:
                self.answer(200, {})

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def start(tmp_path):
    """Starts the launcher; gives the API server and the process."""
    running = []

    def run(name: str, *, states: list[tuple[str, str]], create: list[int]) -> tuple[Api, subprocess.Popen[str]]:
        api = Api(states, create)
        path = tmp_path / "score.json"
        path.write_text(json.dumps({"kind": "RayJob", "metadata": {"labels": {}}}))
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
    ("last", "code"), [(("Complete", "SUCCEEDED"), 0), (("Failed", "FAILED"), 5), (("Complete", "FAILED"), 5)]
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
    _, process = start("lga-score-29", states=[("Complete", "SUCCEEDED")], create=[409])

    assert "is there already" in process.communicate(timeout=30)[0]
    assert 0 == process.returncode


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


def test_the_run_ends_with_its_kubernetes_job(start):
    """
    SIGTERM (deleted, replaced, out of time) deletes the RayJob.
    """
    api, process = start("lga-score-29", states=[], create=[201])
    api.looked.wait(30)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert 128 + signal.SIGTERM == process.returncode
    assert ("DELETE", "lga-score-29") == api.asked[-1]


def test_a_long_name_keeps_its_end(start):
    """
    KubeRay takes 47 characters; the end is what tells one start from another.
    """
    api, process = start("x" * 50 + "-29384756", states=[("Complete", "SUCCEEDED")], create=[201])
    process.communicate(timeout=30)
    name = api.bodies[0]["metadata"]["name"]

    assert 47 == len(name)
    assert name.endswith("-29384756")
