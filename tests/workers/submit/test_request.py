"""What is sent: checked here, named after what it does, without secrets."""

from __future__ import annotations

import pytest

from workers.errors import SettingsError
from workers.settings import SubmitSettings, read_settings
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
        return job_request(settings("--address", "http://head:8265", *command), given).runtime_env["env_vars"]

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
