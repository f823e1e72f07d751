"""What is sent: checked here, named after what it does, without secrets."""

from __future__ import annotations

import pytest

from workers.errors import SettingsError
from workers.settings import SubmitSettings, read_settings, settings_of_environment
from workers.submit.request import job_request

SCORE = ["score", "--input", "s3://a b", "--output", "s3://tags", "--model", "m:1"]


def settings(*arguments: str) -> SubmitSettings:
    return read_settings(SubmitSettings, "submit", list(arguments))


def test_our_flags_may_stand_anywhere():
    """
    Before the command, after it, or apart from it by `--`: the command gets what is its own.
    """
    address = ["--address", "http://head:8265"]

    for arguments in (
        [*address, *SCORE],
        [*SCORE, *address],
        [*address, "--", *SCORE],
        [*SCORE, "--address=http://head:8265"],
    ):
        found = settings(*arguments)
        assert tuple(SCORE) == found.command
        assert "http://head:8265" == found.address


def test_a_switch_of_ours_takes_no_word_of_the_command():
    """
    --again and --no-follow are whole by themselves; what follows is the command's.
    """
    found = settings("--again", "--no-follow", *SCORE)

    assert tuple(SCORE) == found.command
    assert (True, False) == (found.again, found.follow)


def test_flags_that_both_have_belong_to_where_they_stand():
    """
    --log-level in front is ours, behind it is the command's.
    """
    found = settings("--log-level", "error", *SCORE, "--log-level", "debug")

    assert "error" == found.log_level
    assert (*SCORE, "--log-level", "debug") == found.command


def test_a_job_works_on_the_cluster_that_runs_it():
    """
    A command that uses Ray joins the job's cluster unless it is told another; one that does not is told nothing.
    """

    def variables(*command: str, **given: str) -> dict[str, str]:
        request = job_request(settings("--address", "http://head:8265", *command), given)
        return {name: value for name, value in request.runtime_env["env_vars"].items() if name.startswith("LGA_")}

    assert {"LGA_RAY_ADDRESS": "auto"} == variables(*SCORE)
    assert {"LGA_RAY_ADDRESS": "head:6379"} == variables(*SCORE, LGA_RAY_ADDRESS="head:6379")
    assert {} == variables("models", "list")


def test_the_name_follows_from_the_work(tmp_path):
    """
    The same is the same; another flag, another setting of the environment, or other code is something else.
    """
    (tmp_path / "code.py").write_text("1")
    names = [
        job_request(settings(*arguments), variables).name
        for arguments, variables in (
            (SCORE, {}),
            (SCORE, {}),
            ([*SCORE, "--limit", "3"], {}),
            (SCORE, {"LGA_REGISTRY": "s3://models"}),
            ([*SCORE, "--working-dir", str(tmp_path)], {}),
            ([*SCORE, "--image", "lga:2"], {}),
        )
    ]
    (tmp_path / "code.py").write_text("2")

    assert names[0] == names[1]
    assert 5 == len(set(names))
    assert names[4] != job_request(settings(*SCORE, "--working-dir", str(tmp_path)), {}).name


@pytest.mark.parametrize(
    ("variable", "travels"),
    [
        (("LGA_ADDRESS", "http://alice:hunter2@head:8265"), False),
        (("LGA_FOLLOW", "no"), False),
        (("LGA_AGAIN", "yes"), False),
        (("LGA_CPUS", "2"), False),
        (("LGA_EPOCHS", "3"), False),
        (("LGA_LOG_LEVEL", "debug"), True),
        (("LGA_LOG_FORMAT", "json"), True),
    ],
)
def test_what_does_not_change_the_work_changes_no_name(variable, travels):
    """
    What `lga submit` itself or another command is told stays here; how a job logs travels, and is the same job.
    """
    plain, told = (job_request(settings(*SCORE), dict(variables)) for variables in ([], [variable]))

    assert plain.name == told.name
    assert travels == (variable[0] in told.runtime_env["env_vars"])


def test_a_file_of_this_machine_is_not_lost_in_silence(tmp_path, monkeypatch):
    """
    What LGA_CONFIG names is read here and not there: the way out is told. A file that lies there is as good.
    """
    path = tmp_path / "lga.yaml"
    path.write_text("model: m:1")
    monkeypatch.setenv("LGA_CONFIG", str(path))
    with pytest.raises(SettingsError, match=r"lga\.yaml is a file of this machine.* --config behind the command"):
        job_request(settings(*SCORE), settings_of_environment())
    request = job_request(settings(*SCORE, "--config", "/etc/lga/score.yaml"), settings_of_environment())

    assert "LGA_CONFIG" not in request.runtime_env["env_vars"]


def test_a_job_has_time_to_end_in_order():
    """
    Ray would kill it three seconds after it was told to stop: too early for the last checkpoint of a training.
    """
    assert "30" == job_request(settings(*SCORE), {}).runtime_env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]


@pytest.mark.parametrize("words", [["--config", "/etc/lga/score.yaml"], ["--config=/etc/lga/score.yaml"]])
def test_a_file_of_settings_lies_where_the_job_runs(words):
    """
    It is not looked for here, and what it holds is not asked for here.
    """
    assert words[-1] in job_request(settings("score", *words), {}).entrypoint


def test_words_with_spaces_stay_one_word():
    """
    The entry point is a shell's line.
    """
    assert "python -m workers score --input 's3://a b'" in job_request(settings(*SCORE), {}).entrypoint


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["scroe"], "no command 'scroe'"),
        (["score"], "--input is needed"),
        ([*SCORE, "--shard-rows", "0"], "--shard-rows"),
        (["demo"], "cannot be submitted"),
        ([*SCORE, "--working-dir", "/nowhere/at/all"], "no such folder"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(arguments, told):
    """
    A wrong command or setting does not cost a cluster minutes.
    """
    with pytest.raises(SettingsError, match=told):
        job_request(settings(*arguments), {})


@pytest.mark.parametrize(
    ("words", "variables", "name"),
    [
        ((), {"LGA_PUSHGATEWAY": "https://alice:hunter2@push"}, "LGA_PUSHGATEWAY"),
        (("--pushgateway", "https://alice:hunter2@push"), {}, "--pushgateway"),
        (("--pushgateway=https://hunter2@push",), {}, "--pushgateway"),
    ],
)
def test_a_password_is_not_sent(words, variables, name):
    """
    Whoever may ask the job server sees the words and the environment of a job: the setting is named, the password not.
    """
    with pytest.raises(SettingsError, match=rf"^{name}: the address holds a user or a password") as refused:
        job_request(settings(*SCORE, *words), variables)

    assert "hunter2" not in str(refused.value)


def test_an_image_and_a_folder_exclude_each_other(tmp_path):
    """
    Ray would refuse them after packing; here the way out is told.
    """
    with pytest.raises(SettingsError, match="Build the source into the image"):
        job_request(settings("--image", "lga:cpu", "--working-dir", str(tmp_path), *SCORE), {})
