"""Create a RayJob and follow it to its end: `launch.py FILE NAME`. Runs in the CronJob's pod; standard library alone.

The RayJob is called like the Kubernetes job that started it. So a launcher that was started again (its node was
drained, say) finds what the one before it created, and follows that instead of starting another run. The Kubernetes job
owns it: when that is deleted, replaced, or forgotten by the CronJob's history, Kubernetes deletes the RayJob.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

ACCOUNT = Path(os.environ.get("LGA_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
SERVER = os.environ.get("LGA_API_SERVER", "https://kubernetes.default.svc")
JOBS = f"{SERVER}/apis/ray.io/v1/namespaces/{os.environ.get('NAMESPACE', 'default')}/rayjobs"
EVERY_S = float(os.environ.get("LGA_LOOK_EVERY_S", "10"))
LONGEST = 47  # KubeRay's limit for the name of a RayJob.
PASSING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.CONFLICT)
GRACE_S = 60  # KubeRay's own verdict comes first.


def ask(method: str, url: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    """One request to the API server: status and answer. A server that is away for a while gives 0 and the reason."""
    headers = {"Content-Type": "application/json"}
    if (ACCOUNT / "token").exists():
        headers["Authorization"] = f"Bearer {(ACCOUNT / 'token').read_text()}"  # Read each time: it is renewed.
    certificate = ACCOUNT / "ca.crt"
    context = ssl.create_default_context(cafile=certificate) if certificate.exists() else None
    request = urllib.request.Request(  # noqa: S310 - the address is the cluster's own
        url, json.dumps(body).encode() if body else None, headers, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {"message": error.read().decode(errors="replace")[:500]}
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, {"message": str(error)}


def launch(path: str, job: str, name: str) -> int:
    """Create, follow; returns the exit code: 0 done, 5 failed."""
    uid = os.environ["JOB_UID"]
    body = json.loads(Path(path).read_text().replace("$(JOB_UID)", uid))
    body["metadata"]["name"] = name
    body["metadata"]["ownerReferences"] = [{"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": uid}]
    while True:
        status, answer = ask("POST", JOBS, body)
        if status in {HTTPStatus.OK, HTTPStatus.CREATED}:
            print(f"created the RayJob {name}", flush=True)
            break
        if status == HTTPStatus.CONFLICT and is_owned_by(uid, name):
            print(f"the RayJob {name} is there already; following it", flush=True)
            break
        print(f"cannot create the RayJob {name} ({status}): {answer.get('message')}", flush=True)
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in PASSING:
            return 5
        time.sleep(EVERY_S)
    return follow(name)


def is_owned_by(uid: str, name: str) -> bool:
    """Whether a RayJob is this start's. One of an earlier job of this name goes away when Kubernetes collects it."""
    status, answer = ask("GET", f"{JOBS}/{name}")
    owners = answer.get("metadata", {}).get("ownerReferences", [])
    return status == HTTPStatus.OK and uid in [owner["uid"] for owner in owners]


def follow(name: str) -> int:
    """Print each change of state until the end. A run that got new clusters may not last longer for it."""
    seen: tuple[str, ...] = ()
    while True:
        status, answer = ask("GET", f"{JOBS}/{name}")
        if status == HTTPStatus.NOT_FOUND:
            print(f"the RayJob {name} was deleted", flush=True)
            return 5
        if status == HTTPStatus.OK:
            found = answer.get("status", {})
            state = tuple(found.get(field) or "-" for field in ("jobDeploymentStatus", "jobStatus", "message"))
        else:
            state = (f"cannot look at the RayJob {name} ({status}): {answer.get('message')}",)
        if state != seen:
            print(*state, flush=True)
            seen = state
        if state[0] in {"Complete", "Failed", "ValidationFailed"}:
            return 0 if state[:2] == ("Complete", "SUCCEEDED") else 5
        if status == HTTPStatus.OK and is_out_of_time(answer):
            ask("DELETE", f"{JOBS}/{name}")
            print(f"the RayJob {name} had its time, and was deleted; the next start continues its work", flush=True)
            return 5
        time.sleep(EVERY_S)


def is_out_of_time(job: dict[str, Any]) -> bool:
    """KubeRay counts the seconds of each start anew."""
    created = datetime.fromisoformat(job["metadata"]["creationTimestamp"])
    age_s = (datetime.now(UTC) - created).total_seconds()
    return age_s > float(job["spec"]["activeDeadlineSeconds"]) + GRACE_S


def fitting(name: str) -> str:
    """The name, or its beginning and its end: that tells one start from another."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 11]}{name[-11:]}"


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1], sys.argv[2], fitting(sys.argv[2])))
