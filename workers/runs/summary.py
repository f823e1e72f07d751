"""What a run came to, as a short table for people."""

from __future__ import annotations

from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from lga_model.drift import Drift
from workers.console import result_console
from workers.runs.quality import Quality
from workers.runs.record import RunRecord
from workers.runs.speed import SpeedOfLight
from workers.storage import Store

_MANY = 100  # Photographs of a prefix before its drift says anything.


def print_summary(record: RunRecord, output: Store) -> None:
    """Print the account, the failures by reason, and where the tags are, to stdout."""
    table = Table(title=Text(f"Run {record.run_id}"), show_header=False, title_justify="left", box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in summary(record, output):
        table.add_row(Text(name), Text(value))
    result_console().print(table)


def summary(record: RunRecord, output: Store) -> list[tuple[str, str]]:
    """The lines of the table: name and value. Values are text from outside, not markup."""
    lines = [
        ("state", record.state),
        ("input", record.input),
        ("model", f"{record.model}:{record.version}, {record.target} {record.precision}, engine {record.engine}"),
    ]
    if account := record.account:
        lines += [
            ("listed", str(account.listed)),
            ("unchanged", str(account.skipped)),
            ("ok", str(account.ok)),
            ("failed", str(account.failed)),
        ]
        lines += [(f"  {reason}", str(count)) for reason, count in account.reasons.items()]
    lines.append(("attempts", str(len(record.attempts))))
    if record.attempts:
        last = record.attempts[-1]
        took = f"{last.wall_s:.1f} s, {last.startup_s:.1f} s of them to start"
        lines.append(("last attempt", f"{last.outcome or 'not ended'}; {last.work.images} images in {took}"))
        lines.append(("speed", f"{last.images_per_s:.1f} images/s over all of it"))
        lines += _speed_lines(last.speed)
        if last.problem:
            lines.append(("ended early", last.problem))
    if record.quality and (told := _drift(record.quality)):
        lines.append(("drift (PSI)", told))
    lines.append(("tags", output.uri(f"tags/run={record.run_id}/")))
    return lines


def _speed_lines(speed: SpeedOfLight | None) -> list[tuple[str, str]]:
    """How near the run came to what its hardware allows, and what to change."""
    if speed is None:
        return []
    own = ", ".join(f"{stage} {getattr(speed, stage):.0f}" for stage in ("fetch", "decode", "engine", "write"))
    return [
        (
            "  once under way",
            f"{speed.achieved:.1f} images/s, {speed.efficiency:.0%} of the {speed.light:.1f} possible",
        ),
        ("  each stage alone", f"{own} images/s"),
        ("  limited by", f"{speed.bottleneck}; to go faster: {speed.advice}"),
    ]


def _drift(quality: Quality) -> str:
    """Over all, and of the prefix that lies farthest away."""
    told = _indices(quality.drift)
    drifting = [
        (name, prefix.drift) for name, prefix in quality.prefixes.items() if prefix.drift and prefix.images >= _MANY
    ]
    if len(drifting) > 1:
        name, most = max(drifting, key=lambda item: max(_known(item[1]), default=0.0))
        told += f"; farthest in {name or '(no folder)'}: {_indices(most)}"
    return told


def _indices(drift: Drift | None) -> str:
    return (
        ", ".join(f"{name} {value:.3f}" for name, value in asdict(drift).items() if value is not None) if drift else ""
    )


def _known(drift: Drift | None) -> list[float]:
    return [value for value in asdict(drift).values() if value is not None] if drift else []
