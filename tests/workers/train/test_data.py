from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from lga_model.config import Augmentation
from lga_model.images import ImageError
from workers.errors import SettingsError
from workers.train import data
from workers.train.data import ImageSource, Loader, UnusableImage, training_order, validation_order
from workers.train.dataset import Sample

SIZE = 32


@pytest.fixture
def samples(tmp_path):
    """Six grey images, each with a white square where its box is."""
    found = []
    for number in range(6):
        image = np.full((SIZE, SIZE, 3), 10 * number, dtype=np.uint8)
        x0, y0 = 2 * number, 8
        image[y0 : y0 + 16, x0 : x0 + 16] = 255
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), image)
        boxes = np.array([[x0, y0, x0 + 16, y0 + 16]], dtype=np.float32)
        found.append(Sample(uri=str(path), action=number % 2, boxes_N4=boxes, width=SIZE, height=SIZE))
    return found


def loader(samples, *, skip_invalid=False, cache_bytes=0, threads=2):
    return Loader(samples, ImageSource(SIZE, cache_bytes), (8, 8), skip_invalid=skip_invalid, threads=threads)


def batches_of(samples, order, **options):
    return list(loader(samples, **options).training(order, Augmentation(), seed=3, epoch=1))


def test_an_epoch_uses_each_image_once():
    """
    All workers together take every image of the whole batches.
    """
    thirds = [slice(0, 2), slice(2, 4), slice(4, 6)]
    shares = [np.concatenate(training_order(np.arange(20), 6, third)) for third in thirds]
    seen = np.concatenate(shares)

    assert 18 == len(set(seen.tolist())) == len(seen)
    assert [6, 6, 6] == [len(share) for share in shares]


def test_the_number_of_workers_does_not_change_a_batch():
    """
    Two workers' halves are the one worker's batch.
    """
    (whole, *_) = training_order(np.arange(12)[::-1], 4, slice(0, 4))
    halves = [training_order(np.arange(12)[::-1], 4, half)[0] for half in (slice(0, 2), slice(2, 4))]

    assert whole.tolist() == np.concatenate(halves).tolist()


def test_validation_covers_each_image_once():
    """
    Also when the workers' shares are unequal.
    """
    seen = [int(index) for rank in range(3) for step in validation_order(10, 2, rank, 3) for index in step]

    assert list(range(10)) == sorted(seen)


def test_the_same_seed_gives_the_same_pixels(samples):
    """
    Whatever the number of threads, and whether the image was remembered or read again.
    """
    order = training_order(np.arange(6), 2, slice(0, 2))
    first = batches_of(samples, order, threads=1)
    second = batches_of(samples, order, threads=4, cache_bytes=1 << 20)

    assert len(first) == len(second) == 3
    for one, other in zip(first, second, strict=True):
        assert one.uris == other.uris
        assert one.image_BHWC.equal(other.image_BHWC)
        assert one.mask_BHW.equal(other.mask_BHW)


def test_an_image_that_is_shown_again_looks_different(samples):
    """
    Each place of an epoch has an augmentation of its own; the first is the one that the image has without repeats.
    """
    again = np.arange(3) * len(samples) + 4
    first, second, third = batches_of(samples, [again])[0].image_BHWC
    (once,) = batches_of(samples, [again[:1]])[0].image_BHWC

    assert not first.equal(second)
    assert not second.equal(third)
    assert first.equal(once)


def test_image_and_mask_move_together(samples):
    """
    After a random flip, turn and zoom the white square lies where the mask says.
    """
    batch = batches_of(samples, [np.arange(2, 6)])[0]
    white_B88 = (batch.image_BHWC[..., 0] > 150).float().reshape(4, 8, 4, 8, 4).mean(dim=(2, 4))

    assert (batch.mask_BHW[white_B88 > 0.9] == 1).all()
    assert (batch.mask_BHW[white_B88 < 0.1] == 0).all()
    assert (white_B88 > 0.9).sum() > 20


def test_validation_shows_the_image_as_it_is(samples):
    """
    No augmentation; the ragged last batch is kept.
    """
    batches = list(loader(samples).validation(validation_order(6, 4, 0, 1)))

    assert [4, 2] == [len(batch.uris) for batch in batches]
    assert 255 == batches[0].image_BHWC[1, 8, 2, 0]
    assert 10 == batches[0].image_BHWC[1, 0, 0, 0]


def test_an_image_without_boxes_says_so(samples):
    """
    Its mask is empty and is not to be learned from.
    """
    bare = Sample(uri=samples[0].uri, action=0, boxes_N4=np.zeros((0, 4), np.float32), width=SIZE, height=SIZE)
    batch = next(loader([bare]).validation([np.array([0])]))

    assert [False] == batch.has_boxes_B.tolist()
    assert 0 == batch.mask_BHW.sum()


def test_memory_holds_what_fits(samples):
    """
    With room for two images, two survive their files; the third is read again.
    """
    source = ImageSource(SIZE, cache_bytes=2 * SIZE * SIZE * 3)
    for sample in samples[:3]:
        source.pixels(sample)
    for sample in samples[:3]:
        Path(sample.uri).write_bytes(b"")

    assert source.pixels(samples[0]).shape == source.pixels(samples[1]).shape == (SIZE, SIZE, 3)
    with pytest.raises(UnusableImage, match="empty"):
        source.pixels(samples[2])


@pytest.mark.parametrize("content", [None, b"", b"no image at all"])
def test_an_unusable_image_stops_the_training_by_name(samples, tmp_path, content):
    """
    Missing, empty or garbage: the image is named, with the way out.
    """
    broken = tmp_path / "0.png"
    broken.unlink() if content is None else broken.write_bytes(content)
    with pytest.raises(SettingsError, match=r"0\.png: .*--skip-invalid"):
        batches_of(samples, [np.arange(6)])


@pytest.mark.parametrize("window", [None, (0, 0, 20, 10)])
@pytest.mark.parametrize(
    ("sides", "orientation", "fits"),
    [((60, 40), 1, True), ((60, 40), 6, False), ((40, 60), 6, True), ((30, 20), 1, True), ((60, 43), 1, False)],
)
def test_boxes_of_another_size_are_not_learned_from(tmp_path, window, sides, orientation, fits):
    """
    The file has the sides of its row after its EXIF orientation, or is a smaller copy: else the mask would lie over
    something else. Without boxes it does not matter.
    """
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", sides).save(tmp_path / "a.jpg", exif=exif)
    boxes = np.array([[1, 1, 30, 30]], np.float32)
    sample = Sample(uri=str(tmp_path / "a.jpg"), action=0, boxes_N4=boxes, width=60, height=40, window=window)
    with contextlib.nullcontext() if fits else pytest.raises(UnusableImage, match="the manifest says 60 x 40"):
        ImageSource(SIZE, 0).pixels(sample)

    ImageSource(SIZE, 0).pixels(dataclasses.replace(sample, boxes_N4=boxes[:0], window=None))


def test_a_skipped_image_gives_its_place_to_the_next(samples, tmp_path):
    """
    The batch keeps its size, the same images take part on every machine, and the loss is known by name.
    """
    (tmp_path / "2.png").write_bytes(b"")
    load = loader(samples, skip_invalid=True)
    (batch,) = load.training([np.arange(6)], Augmentation(), seed=3, epoch=1)

    assert [samples[index].uri for index in (0, 1, 3, 3, 4, 5)] == list(batch.uris)
    assert [samples[2].uri] == list(load.source.unusable)


def test_a_part_that_fails_leaves_the_whole_photograph(samples, monkeypatch):
    """
    And is told under the name of the photograph; it is not tried again.
    """
    tries = []

    def decode_window(*_):
        tries.append(1)
        raise ImageError("too_large", "decoding it needs more memory than there is")

    monkeypatch.setattr(data, "decode_window", decode_window)
    source, part = ImageSource(SIZE, 0), dataclasses.replace(samples[0], window=(0, 0, 9, 9))
    for _ in range(2):
        with pytest.raises(UnusableImage, match="too_large"):
            source.pixels(part)

    assert (SIZE, SIZE, 3) == source.pixels(samples[0]).shape
    assert [samples[0].uri] == list(source.unusable)
    assert 1 == len(tries)


def test_a_skipped_image_is_left_out_of_the_validation(samples, tmp_path):
    """
    Nothing takes its place there: the figures are over the images that are usable.
    """
    (tmp_path / "2.png").write_bytes(b"")
    batches = list(loader(samples, skip_invalid=True).validation([np.arange(3), np.array([2])]))

    assert [2] == [len(batch.uris) for batch in batches]


def test_a_data_set_of_rubbish_ends(samples, tmp_path):
    """
    When nothing is usable the training stops instead of searching for ever.
    """
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(SettingsError, match="images in a row are unusable"):
        batches_of(samples, [np.arange(2)], skip_invalid=True)
