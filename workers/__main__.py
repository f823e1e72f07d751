"""``lga <command>``: settings -> logs -> job -> exit code."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import version

from workers.errors import WorkerError
from workers.logs import configure_logs
from workers.runtime import (
    keep_ray_on_loopback,
    memory_of_the_system,
    outliving_readers,
    stopping_on_signals,
    use_one_heap,
)
from workers.settings import COMMANDS, CommandSettings, read_settings

Job = Callable[[CommandSettings], int]


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code (0 done; others: ``workers.errors``)."""
    with outliving_readers():
        return _run(sys.argv[1:] if arguments is None else arguments)


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["--version"]:
        print(f"lga {version('lga-tagger')}")
        return 0
    command, rest = _split(arguments)
    if command is None:
        return _explain(rest)
    try:
        settings = read_settings(COMMANDS[command], command, rest)
        configure_logs(settings.log_format, settings.log_level)
        if getattr(settings, "ray_address", None) is None:
            keep_ray_on_loopback()
        use_one_heap()
        with stopping_on_signals():
            with memory_of_the_system():
                job = _job(command)
            return job(settings)
    except WorkerError as error:
        print(f"lga {command}: {error}", file=sys.stderr)
        return error.exit_code


def _split(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The longest command at the front, and what follows it."""
    for words in (2, 1):
        command = " ".join(arguments[:words])
        if len(arguments) >= words and command in COMMANDS:
            return command, arguments[words:]
    return None, arguments


def _job(command: str) -> Job:
    """The function that does the command. Imported late: ``lga --help`` should not wait for torch and Ray."""
    module, function = JOBS[command].split(":")
    job: Job = getattr(importlib.import_module(f"workers.{module}"), function)
    return job


def _explain(arguments: list[str]) -> int:
    """Print the list of commands; say so when one was asked for that there is not."""
    group = arguments[0] if arguments else ""
    matching = [command for command in COMMANDS if command.split()[0] == group]
    asked_for_help = not arguments or group in {"-h", "--help", "help"} or arguments[1:2] in (["-h"], ["--help"])
    unknown = not matching and group not in {"", "-h", "--help", "help"}
    stream = sys.stdout if asked_for_help and not unknown else sys.stderr
    if unknown:
        print(f"lga: there is no command {group!r}", file=stream)
    elif matching and not asked_for_help:
        print(f"lga {group}: say what to do with it", file=stream)
    print("usage: lga COMMAND [settings]; `lga COMMAND --help` explains each", file=stream)
    print("       lga --version\n", file=stream)
    for command in matching or COMMANDS:
        summary = " ".join((COMMANDS[command].__doc__ or "").split("\n\n")[0].split())
        lines = textwrap.wrap(summary, 54)
        print(f"  {command:<22}{lines[0]}", *(f"{'':<24}{line}" for line in lines[1:]), sep="\n", file=stream)
    return 0 if stream is sys.stdout else 2


JOBS: dict[str, str] = {
    "demo": "demo.job:demo",
    "prepare stanford40": "prepare.job:prepare_stanford40",
    "prepare mpii": "prepare.job:prepare_mpii",
    "prepare coco": "prepare.job:prepare_coco",
    "prepare folders": "prepare.job:prepare_folders",
    "prepare misleading": "prepare.job:prepare_misleading",
    "prepare merge": "prepare.merging:merge_labels",
    "review": "review.job:review",
    "train": "train.job:train",
    "evaluate": "evaluate.job:evaluate",
    "compile": "compile.job:compile_model",
    "score": "score.job:score",
    "runs list": "history.job:list_runs",
    "runs show": "history.job:show_run",
    "runs retry": "score.retry:retry_failed",
    "runs quarantine": "history.quarantine:list_quarantine",
    "tags query": "query.job:query_tags",
    "tags export": "query.export:export_tags",
    "tags evaluate": "query.evaluation:evaluate_tags",
    "look": "look.job:look",
    "report": "report.job:report",
    "shadow": "score.shadow.job:shadow",
    "models list": "models.job:list_models",
    "models show": "models.job:show_model",
    "models promote": "models.job:promote_model",
    "models rollback": "models.job:roll_back_model",
    "models gc": "models.collect:collect_models",
    "submit": "submit.job:submit",
    "doctor": "doctor.job:examine",
}
"""Each command and the ``module:function`` below ``workers`` that does it."""

if __name__ == "__main__":
    sys.exit(main())
