"""The model card: what the model is for, what it learnt from, what it cannot see, and where it is weak.

Every figure comes from the version's own files; what they do not say, the card does not say either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from workers.documents import figures, inside, section
from workers.report import figures as show
from workers.report.markup import Markup, element, joined, listed, names
from workers.report.model_files import ModelFiles
from workers.report.page import facts

WEAK = 0.5
"""A class with a lower average precision is named as weak."""
FEW = 20
"""A class with fewer photographs to measure on is named as hardly measured."""


def model_card(files: ModelFiles) -> Markup:
    """The card as a chapter of the page."""
    return joined(
        element("h3", "What it is for"),
        element(
            "p",
            f"Labels whole photographs with one of {len(files.classes)} actions, says how sure it is, and where it "
            "looked. Made for tagging large archives: on photographs like those of the validation, labels with the "
            "verdict “accept” may be used unseen at the precision below; the others are for a person to look at.",
        ),
        element("p", "The actions: ", names(files.classes or [show.NOTHING]), class_="note"),
        element("h3", "What it learnt from"),
        facts(_data(files)),
        element("h3", "What its thresholds promise"),
        facts(_promises(files)),
        element("h3", "What it cannot see"),
        element("ul", [element("li", text) for text in _blind_spots(files)]),
        element("h3", "What it is not for"),
        element(
            "p",
            "Telling who somebody is, judging a person, or any decision about a person without another person who "
            "looks. It has not been tested for whether it treats groups of people alike.",
        ),
        element("h3", "Where it is weak"),
        element("ul", [element("li", each) for each in _limits(files)]),
    )


def _data(files: ModelFiles) -> Iterator[tuple[str, object]]:
    manifest = section(files.training, "manifest")
    yield "manifest", manifest.get("uri")
    yield (
        "photographs",
        " · ".join(
            f"{show.count(manifest[key])} {name}"
            for key, name in (
                ("train_rows", "to learn from"),
                ("val_rows", "to choose the epoch and fit the thresholds"),
            )
            if key in manifest
        ),
    )
    yield "left out", show.count(manifest["invalid_rows"]) if manifest.get("invalid_rows") else None
    yield "first weights", inside(files.training, "pretrained", "source")
    yield "licence", "the files do not record the licence of the photographs: ask whoever made the manifest"


def _promises(files: ModelFiles) -> Iterator[tuple[str, object]]:
    """Thresholds in words. They were fitted on the validation photographs, and hold for photographs like those."""
    calibration = figures(files.record, "calibration")
    accept, peak = calibration.get("accept_confidence"), calibration.get("person_peak_min")
    if accept is not None and accept > 1:
        yield "accept", "never: no confidence reached the wanted precision on validation"
    elif accept is not None:
        right = show.percent(calibration.get("precision"), 0)
        yield "accept", f"from confidence {show.number(accept, 2)} on, {right} of those right"
    if "coverage" in calibration:
        yield "label set", f"holds the right label in {show.percent(calibration['coverage'], 0)} of cases"
    yield (
        "no_person",
        "never: the model has no location heatmap"
        if peak is None
        else f"when no cell of the heatmap reaches {peak:.2g}",
    )
    yield "hold for", "photographs like those of the validation split; elsewhere, measure first (lga tags evaluate)"
    kept = figures(files.evaluation, "reliability")
    if "accepted_precision" in kept and "label_set_coverage" in kept:
        right, held = (show.percent(kept[name]) for name in ("accepted_precision", "label_set_coverage"))
        yield (
            f"on {files.evaluated_split}",
            f"{right} of the accepted were right; {held} of the label sets held the label",
        )


def _blind_spots(files: ModelFiles) -> Iterator[str]:
    yield "Anything but its actions. It knows no “none of these”: a photograph of something else gets a label as well."
    yield "More than one action: a photograph has one label, whatever else the people in it do."
    yield "What only time tells: getting up and sitting down look the same in one moment."
    size, stride = inside(files.record, "config", "image", "size_px"), inside(files.record, "config", "output_stride")
    if isinstance(size, int) and isinstance(stride, int):
        yield (
            f"Small people: it sees {size} × {size} pixels, whatever the size of the photograph, and a cell of its "
            f"maps is {stride} pixels high. Somebody less than {show.percent(stride / size, 0)} of the photograph high "
            "is less than one cell."
        )
    if not inside(files.record, "config", "localisation"):
        yield "Where the person is: without the human-mask loss it has no heatmap, no focus and no “no_person”."
    yield "Photographs unlike those it learnt from: other cameras, drawings, views from above."


def _limits(files: ModelFiles) -> Iterator[Markup]:
    split, precision = files.average_precision()
    if not precision:
        yield joined("The files hold no figures by action.")
        return
    weak = sorted((value, name) for name, value in precision.items() if value < WEAK)
    if weak:
        yield joined(
            f"Average precision below {WEAK} on {split}: ", _named((name, value, 2) for value, name in weak), "."
        )
    else:
        worst = min(precision, key=lambda name: precision[name])
        yield joined(
            f"No action is below {WEAK} average precision on {split}; the weakest is ",
            _named([(worst, precision[worst], 2)]),
            ".",
        )
    unmeasured = [name for name in files.classes if name not in precision]
    if unmeasured:
        yield joined(f"Not measured, for want of photographs in {split}: ", names(unmeasured), ".")
    few = {name: amount for name, amount in figures(files.evaluation, "class_images").items() if 0 < amount < FEW}
    if few:
        named = _named((name, amount, 0) for name, amount in few.items())
        yield joined(f"Measured on fewer than {FEW} photographs, so hardly known: ", named, ".")


def _named(rows: Iterable[tuple[str, float, int]]) -> Markup:
    """Actions, each with a figure of so many digits."""
    return listed(joined(element("bdi", name), f" ({show.number(value, digits)})") for name, value, digits in rows)
