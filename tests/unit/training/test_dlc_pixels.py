"""What the keys of ``data.train`` that change pixels do to them; labels stay where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shoal.training.augment import LUMA, augment
from shoal.training.data import TrainImage, draw_patches

CPU = torch.device("cpu")
N = 40


@pytest.fixture
def image(tmp_path) -> TrainImage:
    """Random colours of 50 to 199: room for noise on both sides, no black."""
    pixels = np.random.default_rng(0).integers(50, 200, (96, 96, 3)).astype(np.uint8)
    np.save(tmp_path / "random.npy", pixels)
    xy = np.array([[[40, 40], [50, 45], [44, 60]]], np.float32)
    return TrainImage(tmp_path / "random.npy", xy, np.zeros((0, 2), np.float32), np.array([0]))


def crops(image, config, n=N, size=48):
    train = config.train
    patches = draw_patches(
        [image] * n, size, train.augment, counters=(1, 0, 0), mirror=np.arange(3), where=("uniform", 0.0)
    )
    pixels, labels = augment(patches, size, device=CPU)
    return pixels, labels.xy


@pytest.fixture
def compare(image, settings):
    """(crops without, crops with a change), after a look at the labels."""

    def pair(key, value, of=image):
        (before, xy), (after, same) = (crops(of, settings(changes)) for changes in ({}, {key: value}))
        assert torch.equal(xy.nan_to_num(-1), same.nan_to_num(-1))
        return before, after

    return pair


def share_changed(before, after):
    return (before != after).flatten(1).any(1).float().mean().item()


def test_nothing_asked_for_changes_nothing(image, settings):
    source = image.pixels().astype(np.float32)
    whole, _ = crops(image, settings(), n=1, size=96)
    assert torch.allclose(whole[0].permute(1, 2, 0), torch.from_numpy(source), atol=1e-2)


@pytest.mark.parametrize(
    ("key", "value"),
    [("motion_blur", True), ("covering", True), ("hist_eq", True), ("grayscale", True), ("gaussian_noise", 12.75)],
)
def test_half_of_the_crops_are_changed(compare, key, value):
    assert 0.25 < share_changed(*compare(f"data.train.{key}", value)) < 0.75


@pytest.mark.parametrize("key", ["motion_blur", "covering", "hist_eq", "grayscale"])
def test_the_chance_is_as_written(compare, key):
    before, all_of_them = compare(f"data.train.{key}", {"p": 1.0})
    assert share_changed(before, all_of_them) == 1
    assert 0 < share_changed(*compare(f"data.train.{key}", 0.2)) < 0.4
    assert share_changed(*compare(f"data.train.{key}", False)) == 0


def test_motion_blur_takes_contrast_and_keeps_the_mean(compare):
    before, after = compare("data.train.motion_blur", {"p": 1.0})
    assert (after.std((2, 3)) < 0.8 * before.std((2, 3))).all()
    assert torch.allclose(after.mean((2, 3)), before.mean((2, 3)), atol=2)


def test_motion_blur_is_a_line_of_three_to_seven_pixels(compare, tmp_path):
    pixels = np.zeros((48, 48, 3), np.uint8)
    pixels[24, 24] = 255
    np.save(tmp_path / "dot.npy", pixels)
    dot = TrainImage(
        tmp_path / "dot.npy", np.full((1, 3, 2), 24, np.float32), np.zeros((0, 2), np.float32), np.array([0])
    )
    _, after = compare("data.train.motion_blur", {"p": 1.0}, of=dot)
    lengths = []
    for crop in after[:, 0]:
        assert crop.sum() == pytest.approx(255, rel=1e-3)
        rows, columns = np.nonzero(crop.numpy() > 1)
        lengths.append(max(np.ptp(rows), np.ptp(columns)) + 1)
        spread = np.linalg.eigvalsh(np.cov(np.stack([rows, columns]), aweights=crop.numpy()[rows, columns]))
        assert spread[0] < 0.4 * spread[1]  # along a line
    assert min(lengths) == 3
    assert 5 <= max(lengths) <= 7


def test_covering_blackens_a_small_part(compare):
    before, after = compare("data.train.covering", {"p": 1.0})
    black = (after == 0).all(1)
    assert torch.equal(after.permute(0, 2, 3, 1)[~black], before.permute(0, 2, 3, 1)[~black])
    share = black.float().mean((1, 2))
    assert share.min() > 0
    assert share.max() < 10 * 0.05**2 + 1e-6
    assert len({int(b.sum()) for b in black}) > 5  # not always the same


def test_equalized_histograms_are_flat(compare):
    before, after = compare("data.train.hist_eq", {"p": 1.0})
    counts = torch.stack([torch.histc(channel, 8, 0, 256) for channel in after.flatten(0, 1)])
    assert (counts / 48**2 - 1 / 8).abs().max() < 0.03
    lower = before.flatten(0, 1)[0].flatten()
    order = lower.argsort()
    assert (after.flatten(0, 1)[0].flatten()[order].diff() >= 0).all()  # darker stays darker


def test_an_even_image_does_not_turn_black_when_equalized(compare, coordinates):
    even = coordinates([[[40, 40], [50, 45], [44, 60]]], blue=90)
    _, after = compare("data.train.hist_eq", {"p": 1.0}, of=even)
    assert torch.allclose(after[:, 2], torch.tensor(90.0), atol=1e-2)


def test_grayscale_is_the_luma_in_all_channels(compare):
    before, after = compare("data.train.grayscale", {"p": 1.0})
    luma = (before * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    assert torch.allclose(after, luma.expand(-1, 3, -1, -1), atol=1e-3)


@pytest.mark.parametrize("level", [12.75, 5.0])
def test_noise_has_at_most_the_written_deviation(compare, level):
    before, after = compare("data.train.gaussian_noise", level)
    noise = (after - before).flatten(1)
    deviation = noise.std(1)
    some = deviation[deviation > 0]
    assert (noise.mean(1).abs() < 4 * level / 48).all()
    assert 0.8 * level < some.max() < 1.06 * level
    assert some.min() < 0.5 * level  # drawn for each crop


def test_noise_that_is_switched_off_is_no_error(compare):
    """``gaussian_noise: false`` used to be refused as no number."""
    assert share_changed(*compare("data.train.gaussian_noise", False)) == 0
    assert share_changed(*compare("data.train.gaussian_noise", True)) > 0.25
