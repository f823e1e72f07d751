"""Secrets that are planted come out nowhere: no log, no message, no file."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PLANTED = {
    "AWS_SESSION_TOKEN": "planted-session-token-4711",
    "RAY_AUTH_TOKEN": "planted-cluster-token-4711",
    "MLFLOW_TRACKING_PASSWORD": "planted-password-4711",
}
GATEWAY_PASSWORD = "planted-gateway-4711"


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({}, 5),
        ({"AWS_SECRET_ACCESS_KEY": "planted-wrong-key-4711"}, 5),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, 5),
    ],
)
def test_a_failing_run_tells_no_secret(s3, tmp_path, environment, code):
    """
    With every line of the log shown, and the outcome written: neither the store's real key nor what was planted.
    """
    secrets = [s3.server.secret_key, GATEWAY_PASSWORD, *PLANTED.values(), *environment.values()]
    outcome = tmp_path / "lga.prom"
    done = subprocess.run(
        [
            sys.executable, "-m", "workers", "score", "--input", "s3://nobody-made-this",
            "--output", str(tmp_path / "out"),
            "--model", "m:1", "--log-level", "debug", "--log-format", "json", "--metrics-file", str(outcome),
            "--pushgateway", f"http://user:{GATEWAY_PASSWORD}@127.0.0.1:1",
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | PLANTED | environment,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    told = done.stdout + done.stderr + outcome.read_text()

    assert code == done.returncode, done.stderr
    assert "lga_last_run_exit_code" in told
    assert "metrics.push_failed" in told
    assert [] == [secret for secret in secrets if "planted" in secret and secret in told]
    assert s3.server.secret_key not in told
