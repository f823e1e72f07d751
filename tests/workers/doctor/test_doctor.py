"""The doctor tries the things themselves."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from workers.__main__ import main
from workers.doctor.checks import Finding, check_engines, check_gpu, check_ray, check_registry, check_store
from workers.doctor.job import _print
from workers.errors import Stopped
from workers.runtime import stopping_on_signals
from workers.storage import open_store


def test_a_good_store_works(store_uri):
    """
    Folder and bucket pass, and nothing stays behind.
    """
    open_store(store_uri).put("already-there", b"")
    finding = check_store(store_uri)

    assert finding.works, finding.detail
    assert ["already-there"] == [info.key for info in open_store(store_uri).list()]


def test_a_missing_bucket_fails_with_its_reason(s3):
    """
    The finding says what is wrong, without a traceback.
    """
    finding = check_store("s3://nobody-made-this-one")

    assert finding.works is False
    assert "no such bucket" in finding.detail


def test_ray_runs_a_task(ray_local):
    """
    Ray is not only importable: a task comes back.
    """
    assert check_ray().works


def test_the_wanted_engine_is_needed():
    """
    Asking for a target makes its runtime count.
    """
    findings = {finding.part: finding for finding in check_engines("onnxruntime")}

    assert ["engine onnxruntime"] == [part for part, finding in findings.items() if finding.needed]
    assert findings["engine onnxruntime"].works
    assert "computes in fp32, int8" in findings["engine onnxruntime"].detail


def test_a_runtime_without_its_gpu_does_not_work(monkeypatch):
    """
    TensorRT is no use on a machine without a GPU, installed or not; asked for, it makes the machine ill.
    """
    monkeypatch.setattr("workers.doctor.checks.present_gpu", lambda: None)
    findings = {finding.part: finding for finding in check_engines("tensorrt")}

    assert (None, True) == (findings["engine tensorrt"].works, findings["engine tensorrt"].needed)
    assert (None, False) == (findings["engine tensorrt-rtx"].works, findings["engine tensorrt-rtx"].needed)


def test_the_command_exits_with_one_when_the_store_fails(ray_local, capsys):
    """
    Exit code 1 and a table for people.
    """
    code = main(["doctor", "--store", "/proc/nothing-can-be-written-here"])
    shown = capsys.readouterr().out

    assert 1 == code
    assert "fails" in shown
    assert "Traceback" not in shown


def test_the_name_of_an_extra_is_shown(capsys):
    """
    Brackets are no markup, nor are those in the name of a folder.
    """
    _print([Finding(part="store /tags[/2026]", works=None, detail="the extra [tensorrt] brings it")])
    shown = " ".join(capsys.readouterr().out.split())

    assert "the extra [tensorrt] brings it" in shown
    assert "store /tags[/2026]" in shown


def test_a_registry_is_looked_into(registry, tmp_path):
    """
    Its models are named; one that is still empty works, and nothing is made there.
    """
    assert "models: tiny" == check_registry(registry).detail
    assert check_registry(str(tmp_path / "new")).works
    assert [] == list(tmp_path.iterdir())


def test_the_registry_that_is_asked_for_counts(ray_local, s3, capsys):
    """
    Exit code 1 when it cannot be read.
    """
    assert 1 == main(["doctor", "--registry", "s3://nobody-made-this-one"])
    assert "no such bucket" in capsys.readouterr().out


@pytest.mark.parametrize("check", [check_ray, lambda: check_store("/x"), lambda: check_registry("/x")])
def test_a_signal_is_no_finding(monkeypatch, check):
    """
    Ctrl-C ends the examination.
    """

    def interrupt(*_arguments, **_options):
        os.kill(os.getpid(), signal.SIGINT)

    for name in ("ray_session", "open_store", "Registry"):
        monkeypatch.setattr(f"workers.doctor.checks.{name}", interrupt)
    with pytest.raises(Stopped), stopping_on_signals():
        check()


@pytest.mark.parametrize(("package", "check"), [("torch", check_gpu), ("ray", check_ray)])
def test_a_package_that_cannot_be_loaded_is_a_finding(monkeypatch, package, check):
    """
    That is what one asks the doctor for.
    """
    monkeypatch.setitem(sys.modules, package, None)
    finding = check()

    assert finding.works is False
    assert f"{package} cannot be loaded" in finding.detail
