"""`lga report` about a run: everything from its files, whatever they hold or lack."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from workers.__main__ import main

from .conftest import HOSTILE, Tagged, write_photograph, write_run


def page_of(capsys, *arguments: object) -> str:
    """Make a report; its text."""
    html = arguments[-1]
    code = main(["report", *map(str, arguments[:-1]), "--html", str(html)])

    assert 0 == code, capsys.readouterr().err
    return html.read_text(encoding="utf-8")


def cards_of(page: str) -> list[dict]:
    (found,) = re.findall(r'<script type="application/json" id="cards">(.*?)</script>', page)
    return json.loads(found)


def test_the_page_tells_the_account_and_the_failures(hostile_run, tmp_path, capsys):
    """
    Figures of `run.json` and of the tags; the failure with its reason; a photograph for each tag that has one.
    """
    page = page_of(capsys, "--output", hostile_run, tmp_path / "page.html")
    cards = {card["key"]: card for card in cards_of(page)}

    assert "The account balances: 16 listed" in page
    assert "truncated" in page
    assert "limited by the engine" in page
    assert 13 == len(cards)
    assert cards["00.jpg"]["photograph"][0].startswith("data:image/webp;base64,")
    assert [240, 180] == cards["00.jpg"]["photograph"][1:]
    assert cards["nobody.jpg"]["photograph"] is None
    assert "no such file" in cards["nobody.jpg"]["trouble"].lower()


def test_hostile_names_stay_text(hostile_run, tmp_path, capsys):
    """
    Two scripts, the data and the page's own, and no attribute that runs anything; the names arrive unchanged.
    """
    page = page_of(capsys, "--output", hostile_run, tmp_path / "page.html")

    assert 2 == page.count("<script")
    assert "<img src=x" not in page
    assert f"folder{HOSTILE}" in {card["key"] for card in cards_of(page)}


def test_nothing_is_loaded_from_elsewhere(hostile_run, tmp_path, capsys):
    """
    No address in the file; its policy allows its own style, its own script and embedded pictures.
    """
    page = page_of(capsys, "--output", hostile_run, tmp_path / "page.html")

    assert "default-src 'none'" in page
    assert [] == re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", page)
    assert [] == re.findall(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)


def test_a_size_that_is_asked_for_is_kept(tmp_path, capsys):
    """
    What does not fit is left out, counted on the page, and it is the least telling that goes.
    """
    objects = [Tagged(key=f"{number:03d}.jpg", confidence=0.5 + number / 1000) for number in range(120)]
    for each in objects:
        write_photograph(tmp_path / "photographs" / each.key)
    output = write_run(tmp_path / "tagged", tmp_path / "photographs", objects)
    page_of(capsys, "--output", output, tmp_path / "whole.html")
    page = page_of(capsys, "--output", output, "--max-mb", 0.15, tmp_path / "small.html")
    kept = cards_of(page)
    whole = cards_of((tmp_path / "whole.html").read_text())

    assert (tmp_path / "small.html").stat().st_size <= 150_000 < (tmp_path / "whole.html").stat().st_size
    assert 0 < len(kept) < len(whole) == 120
    assert whole[: len(kept)] == kept
    assert f"{120 - len(kept)} more were chosen and left out" in page


def test_photographs_that_are_gone_cost_no_report(hostile_run, tmp_path, capsys):
    """
    Tiles without a picture say why; another place can be named.
    """
    shutil.move(tmp_path / "photographs", tmp_path / "archive")
    without = cards_of(page_of(capsys, "--output", hostile_run, tmp_path / "page.html"))
    found = cards_of(
        page_of(capsys, "--output", hostile_run, "--photographs", tmp_path / "archive", tmp_path / "b.html")
    )

    assert all(card["photograph"] is None and card["trouble"] for card in without)
    assert 12 == sum(card["photograph"] is not None for card in found)


def test_a_record_of_another_release_loses_only_what_it_lacks(tmp_path, capsys):
    """
    No account, no attempts, strange types: the tags still tell their part, and the page says what is missing.
    """
    output = write_run(
        tmp_path / "tagged", tmp_path, [Tagged(key="a")], state="running", account=None, attempts="none", finished_at=7,
        model=None, started_at=None,
    )  # fmt: skip
    page = page_of(capsys, "--output", output, tmp_path / "page.html")

    assert "This run is not finished" in page
    assert "no account yet" in page
    assert "holds no timing yet" in page


def test_speed_of_light_and_drift_are_told(tmp_path, capsys):
    """
    Efficiency, bottleneck and advice; counts and index of everything and of each folder, the most different first.
    """
    speed = {
        "fetch": 900.0, "decode": 300.0, "engine": 60.0, "write": 5000.0, "light": 50.0, "achieved": 45.0,
        "efficiency": 0.9, "bottleneck": "engine", "advice": "a faster engine",
    }  # fmt: skip
    counts = {"confidence": [0, 1, 3], "focus": [2, 2, 0], "classes": {}}
    folders = {"steady": {"images": 3, "failed": 0, "drift": {"confidence": 0.01}}}
    folders["<other>"] = {"images": 1, "failed": 1, "drift": {"confidence": 0.5, "focus": None}}
    quality = {
        "distribution": counts,
        "drift": {"confidence": 0.123, "focus": None, "classes": 0.2},
        "prefixes": folders,
    }
    output = write_run(
        tmp_path / "tagged", tmp_path, [Tagged(key="a")], attempts=[{"speed": speed, "outcome": "finished"}],
        quality=quality,
    )  # fmt: skip
    registry = tmp_path / "registry" / "poses" / "versions" / "0003"
    registry.mkdir(parents=True)
    (registry / "model.json").write_text("{}")
    (registry / "metrics.json").write_text(json.dumps({"distribution": {"confidence": [1, 1, 2], "focus": "none"}}))
    page = page_of(capsys, "--output", output, "--registry", tmp_path / "registry", tmp_path / "page.html")

    assert "45.0 images/s, 90.0 % of the 50.0" in page
    assert "To go faster: a faster engine." in page
    assert "0.123" in page
    assert 0 < page.index("&lt;other&gt;") < page.index("steady")
    assert '<bdi>all of it</bdi></th><td class="number">4</td><td class="number">1</td>' in page
    assert "Confidence: run and validation" in page
    assert "Focus: run and validation" not in page


def test_a_night_without_anything_new_is_a_run_too(hostile_run, tmp_path, capsys):
    """
    Its account by name; without a name the newest run that tagged something is meant.
    """
    account = {"listed": 12, "skipped": 12, "ok": 0, "failed": 0, "reasons": {}}
    write_run(hostile_run, tmp_path, [], run_id="quiet", account=account)
    quiet = page_of(capsys, "--output", hostile_run, "--run", "quiet", tmp_path / "quiet.html")
    newest = page_of(capsys, "--output", hostile_run, tmp_path / "newest.html")

    assert "The account balances: 12 listed" in quiet
    assert "No photograph has a label." in quiet
    assert "<title>nightly" in newest


def test_without_photographs_there_are_figures(hostile_run, tmp_path, capsys):
    """
    `--max-photographs 0`: no gallery, no filters, all the figures.
    """
    page = page_of(capsys, "--output", hostile_run, "--max-photographs", 0, tmp_path / "page.html")

    assert 'id="cards"' not in page
    assert "The account balances" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to report on"),
        (["--run", "nightly"], "--run needs --output"),
        (["--output", "{tmp}/tagged", "--model", "poses:1"], "two reports"),
        (["--output", "{tmp}/nowhere"], "there is no folder"),
        (["--output", "{tmp}/tagged", "--run", "other"], "runs there: nightly"),
        (["--output", "{tmp}/tagged", "--max-mb", "0.001"], "raise --max-mb"),
    ],
)
def test_what_cannot_be_reported_is_told(hostile_run, tmp_path, capsys, arguments, message):
    """
    Exit code 2, one sentence with the way out, no file.
    """
    html = tmp_path / "page.html"
    code = main(["report", *(each.format(tmp=tmp_path) for each in arguments), "--html", str(html)])

    assert 2 == code
    assert message in capsys.readouterr().err
    assert not html.exists()


def test_a_run_in_a_bucket_is_read_from_there(s3, hostile_run, tmp_path, capsys):
    """
    Tags, record and photographs in S3; the page goes to S3 too. A photograph that was overwritten since is marked.
    """
    from workers.storage import open_store  # noqa: PLC0415 - boto3, for this test alone

    bucket, photographs = open_store(s3.bucket()), open_store(s3.bucket())
    write_photograph(tmp_path / "one.jpg")
    photographs.put("2026/a.jpg", (tmp_path / "one.jpg").read_bytes())
    source = write_run(tmp_path / "local", photographs.uri("2026"), [Tagged(key="2026/a.jpg")])
    for path in source.rglob("*.*"):
        bucket.put(f"out/{path.relative_to(source)}", path.read_bytes())
    code = main(["report", "--output", bucket.uri("out"), "--html", bucket.uri("pages/run.html")])
    (card,) = cards_of(bucket.get("pages/run.html").data.decode())

    assert 0 == code
    assert card["photograph"] is not None
    assert ["note", "the object was overwritten after it was tagged"] in card["facts"]
