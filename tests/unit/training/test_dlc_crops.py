"""Where crops lie, how they are turned and scaled, as ``affine``, ``hflip`` and ``crop_sampling`` say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shoal.errors import ConfigError
from shoal.training.augment import augment
from shoal.training.data import draw_patches
from shoal.training.pose import _mirror, crop_size

CPU = torch.device("cpu")
SPREAD = [[[30, 40], [200, 30], [60, 170]], [[120, 100], [210, 180], [100, 60]]]
"""Labels in all parts of an image of 240 x 200."""
HALF = {"p": 0.5, "rotation": 30, "scaling": [0.5, 1.25], "translation": 20}
SMALL = {"width": 64, "height": 48, "max_shift": 0.1, "method": "uniform"}


def draw(image, config, n=100, step=0, mirror=(0, 1, 2)):
    train = config.train
    where = (train.crop_method, train.crop_shift)
    counters = (train.seed, 0, step)
    return draw_patches(
        [image] * n, crop_size(train), train.augment, counters=counters, mirror=np.array(mirror), where=where
    )


def affine(settings, crop=SMALL, **changes):
    return settings({"data.train.affine": HALF | changes, "data.train.crop_sampling": crop})


def whole(config, size=(240, 200)):
    """The sides that ``settings.resolve`` finds for images of this size."""
    sides = {"crop_px": size[0], "crop_height_px": size[1]}
    return config.model_copy(update={"train": config.train.model_copy(update=sides)})


def measured(patches):
    """Angle (degrees) and scale of each crop, from its matrix."""
    linear = np.linalg.inv(patches.matrix[:, :, :2])
    return np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0])), np.sqrt(np.abs(np.linalg.det(linear)))


def check_pixels(patches, image, config, read_at, *, margin=2):
    """What a crop shows at a label are the coordinates of that label in the image; how many were looked at."""
    crops, labels = augment(patches, crop_size(config.train), device=CPU)
    size = torch.tensor(crop_size(config.train))
    count = 0
    for crop, animals, who in zip(crops, labels.xy, labels.individual, strict=True):
        for xy, individual in zip(animals, who, strict=True):
            inside = ((xy > margin) & (xy < size - margin)).all(-1)
            if individual < 0 or not inside.any():
                continue
            seen = read_at(crop, xy[inside])[:, :2] + 0.5
            expected = image.xy[int(individual)][inside.numpy()]
            assert np.abs(seen - expected).max() < 0.1
            count += int(inside.sum())
    return count


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_affine_acts_on_its_share_of_the_crops(coordinates, settings, p):
    angle, scale = measured(draw(coordinates(SPREAD), affine(settings, p=p), 200))
    turned = np.abs(angle) > 1e-6
    assert ((np.abs(scale - 1) > 1e-6) == turned).all()  # together or not at all
    assert turned.mean() == pytest.approx(p, abs=0.1)


def test_rotation_and_scaling_fill_their_ranges_evenly(coordinates, settings):
    angle, scale = measured(draw(coordinates(SPREAD), affine(settings, p=1.0, rotation=40, scaling=[0.6, 1.4]), 240))
    assert (np.abs(angle) <= 40).all()
    assert (scale >= 0.6).all() and (scale <= 1.4).all()
    for values, low, high in ((angle, -40, 40), (scale, 0.6, 1.4)):
        counts = np.histogram(values, 4, (low, high))[0]
        assert counts.min() > 40, values  # uniform, not uniform in the logarithm


def test_one_number_scales_all_crops_alike(coordinates, settings):
    angle, scale = measured(draw(coordinates(SPREAD), affine(settings, p=1.0, rotation=0, scaling=1.2), 20))
    assert np.allclose(scale, 1.2)
    assert np.allclose(angle, 0)


def test_a_larger_scale_shows_larger_animals(coordinates, settings):
    apart = []
    for scaling in (1.0, 1.5):
        config = affine(settings, p=1.0, rotation=0, translation=0, scaling=scaling, crop=SMALL | {"width": 200})
        xy = draw(coordinates(SPREAD), config, 1).xy[0, 0]
        apart.append(np.linalg.norm(xy[0] - xy[1]))
    assert apart[1] == pytest.approx(1.5 * apart[0], rel=1e-4)


def test_translation_moves_by_up_to_as_written(coordinates, settings):
    """One crop position for all: the image is smaller than the crop, so it lies in the middle but for the shift."""
    image = coordinates([[[20, 20], [30, 25], [24, 30]]], 48, 40)
    crop = {"width": 96, "height": 96, "method": "uniform"}
    moved = affine(settings, p=1.0, rotation=0, scaling=1.0, translation=15, crop=crop)
    centred = draw(image, affine(settings, p=0.0, crop=crop), 1).xy[0, 0]
    shift = draw(image, moved, 150).xy[:, 0, 0] - centred[0]
    assert (np.abs(shift) <= 15).all()
    assert (np.histogram(shift[:, 0], 3, (-15, 15))[0] > 30).all()
    assert abs(np.corrcoef(shift.T)[0, 1]) < 0.3  # in x and in y
    whole = affine(settings, p=0.5, translation=15, crop=crop)
    assert (draw(image, whole, 150).xy[:, 0, 0] == centred[0]).all(-1).mean() == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_labels_stay_on_their_pixels_in_crops_that_are_no_squares(coordinates, settings, read_at, p):
    image = coordinates(SPREAD)
    config = affine(settings, p=p, crop=SMALL | {"width": 120, "height": 72})
    patches = draw(image, config, 60)
    assert augment(patches, crop_size(config.train), device=CPU)[0].shape == (60, 3, 72, 120)
    assert check_pixels(patches, image, config, read_at) > 30


def test_mirror_images_swap_the_symmetric_keypoints(coordinates, settings, read_at):
    image = coordinates(SPREAD)
    crop = {"data.train.crop_sampling": SMALL | {"width": 160, "height": 144}}
    plain = settings(crop)
    for chance, low, high in ((True, 0.3, 0.7), ({"p": 1.0}, 1, 1), ({"p": 0.1}, 0.01, 0.25)):
        flipped = np.linalg.det(draw(image, settings({**crop, "data.train.hflip": chance})).matrix[:, :, :2]) < 0
        assert low <= flipped.mean() <= high
    config = settings({**crop, "data.train.hflip": {"p": 1.0, "symmetries": [[1, 2]]}})
    one, other = draw(image, plain, 20), draw(image, config, 20, mirror=(0, 2, 1))
    assert np.allclose(other.xy[..., 0], 160 - one.xy[:, :, [0, 2, 1], 0], atol=1e-3)
    assert np.allclose(other.xy[..., 1], one.xy[:, :, [0, 2, 1], 1], atol=1e-3)
    a, b = (augment(patches, (160, 144), device=CPU)[0] for patches in (one, other))
    assert torch.allclose(a.flip(-1), b, atol=1e-2)


class _Info:
    def __init__(self, config, names_mirror=(0, 1, 2)):
        self.config = config
        self.skeleton = type("S", (), {"mirror": list(names_mirror), "n_keypoints": 3})


def test_symmetries_come_from_the_file_else_from_the_names(settings):
    pairs = settings({"data.train.hflip": {"p": 1.0, "symmetries": [[0, 2]]}})
    assert _mirror(_Info(pairs)).tolist() == [2, 1, 0]
    assert _mirror(_Info(settings({"data.train.hflip": True}), (0, 2, 1))).tolist() == [0, 2, 1]
    with pytest.raises(ConfigError, match="below 3"):
        _mirror(_Info(settings({"data.train.hflip": {"symmetries": [[0, 3]]}})))


def test_symmetries_without_a_chance_still_ask_for_mirror_images(settings):
    """``hflip: {symmetries: ...}`` used to mean no mirror images at all."""
    assert settings({"data.train.hflip": {"symmetries": [[1, 2]]}}).train.augment.flip == 0.5


METHODS = ("uniform", "keypoints", "density", "hybrid")


@pytest.mark.parametrize("method", METHODS)
def test_crops_lie_inside_the_image(coordinates, settings, read_at, method):
    image = coordinates(SPREAD, blue=255)
    config = settings({"data.train.crop_sampling": SMALL | {"method": method, "max_shift": 0.4}})
    patches = draw(image, config, 60)
    crops, _ = augment(patches, crop_size(config.train), device=CPU)
    assert (crops[:, 2] > 254).all()  # nothing of the padding
    assert check_pixels(patches, image, config, read_at) > 10
    left, top = crops[:, 0, 0, 0], crops[:, 1, 0, 0]
    assert torch.allclose(crops[:, 0, 0, -1] - left, torch.tensor(63.0), atol=0.01)
    assert torch.allclose(crops[:, 1, -1, 0] - top, torch.tensor(47.0), atol=0.01)
    assert len({round(x, 3) for x in left.tolist()}) > 20


@pytest.mark.parametrize("method", ["keypoints", "density", "hybrid"])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5])
def test_a_keypoint_near_the_corner_stays_in_its_crop(coordinates, settings, method, shift):
    """The shift used to push crops past keypoints near the left and upper edge."""
    nan = float("nan")
    for corner in ([3, 5], [236, 4], [2, 197], [237, 196], [120, 100]):
        image = coordinates([[corner, [nan, nan], [nan, nan]]])
        config = settings({"data.train.crop_sampling": SMALL | {"method": method, "max_shift": shift}})
        xy = draw(image, config, 30).xy
        found = ((xy >= 0) & (xy <= (64, 48))).all(-1).any((1, 2)) if xy.shape[1] else np.zeros(30, bool)
        assert 0.2 < found.mean() < 1 if method == "hybrid" else found.all()


def test_uniform_crops_are_anywhere_the_others_go_where_keypoints_are(coordinates, settings):
    cluster = [[[20, 20], [22, 24], [25, 21]], [[24, 28], [27, 20], [220, 180]]]
    share = {}
    for method in METHODS:
        config = settings({"data.train.crop_sampling": SMALL | {"method": method}})
        crops, _ = augment(draw(coordinates(cluster), config, 120), crop_size(config.train), device=CPU)
        share[method] = float(((crops[:, 0, 0, 0] < 60) & (crops[:, 1, 0, 0] < 60)).float().mean())
    assert share["uniform"] == pytest.approx((60 / 176) * (60 / 152), abs=0.1)
    assert share["keypoints"] == pytest.approx(5 / 6, abs=0.1)
    assert share["density"] == pytest.approx(25 / 26, abs=0.04)
    assert share["hybrid"] == pytest.approx((share["uniform"] + share["density"]) / 2, abs=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_without_keypoints_crops_are_anywhere(coordinates, settings, method):
    image = coordinates(np.full((1, 3, 2), np.nan))
    config = settings({"data.train.crop_sampling": SMALL | {"method": method}})
    crops, labels = augment(draw(image, config, 60), crop_size(config.train), device=CPU)
    assert labels.xy.shape[1] == 0
    assert crops[:, 0, 0, 0].std() > 30


@pytest.mark.parametrize("method", METHODS)
def test_images_smaller_than_the_crop_lie_in_its_middle(coordinates, settings, read_at, method):
    image = coordinates([[[20, 20], [30, 25], [24, 30]]], 50, 40, blue=255)
    config = settings({"data.train.crop_sampling": {"width": 80, "height": 64, "method": method}})
    patches = draw(image, config, 4)
    crops, _ = augment(patches, crop_size(config.train), device=CPU)
    inside = torch.zeros(64, 80, dtype=torch.bool)
    inside[12:52, 15:65] = True
    assert torch.allclose(crops[:, 2][:, inside], torch.tensor(255.0), atol=0.01)
    assert torch.allclose(crops[:, :, ~inside], torch.tensor(127.0), atol=0.01)
    assert check_pixels(patches, image, config, read_at) == 12


def test_an_image_that_is_only_lower_than_the_crop(coordinates, settings, read_at):
    image = coordinates([[[20, 20], [130, 25], [224, 30]]], 240, 40)
    config = settings({"data.train.crop_sampling": {"width": 80, "height": 64, "method": "keypoints"}})
    patches = draw(image, config, 60)
    assert check_pixels(patches, image, config, read_at) > 40
    assert np.nanmin(patches.xy[..., 1]) == pytest.approx(32, abs=0.01)  # 20 px and half of what lacks


def test_without_crop_sampling_images_are_whole(coordinates, settings, read_at):
    """``crop_sampling: null``: DeepLabCut 3.0.2 hands its network whole images, unchanged."""
    image, config = coordinates(SPREAD), whole(settings({"data.train.crop_sampling": None}))
    patches = draw(image, config, 3)
    crops, labels = augment(patches, crop_size(config.train), device=CPU)
    pixels = torch.from_numpy(image.pixels().copy()).permute(2, 0, 1).float()
    assert torch.allclose(crops, pixels.expand_as(crops), atol=0.01)
    assert torch.allclose(labels.xy, torch.from_numpy(image.xy).expand_as(labels.xy), atol=1e-3)


def test_whole_images_are_turned_scaled_and_moved_about_their_middle(coordinates, settings, read_at):
    image, config = coordinates(SPREAD), whole(affine(settings, None, p=1.0))
    patches = draw(image, config, 40)
    assert patches.pixels.shape[1] == 240 + 2 * 20 + 6  # not what a turned, halved image would need
    angle, scale = measured(patches)
    assert angle.min() < -20 < 20 < angle.max()
    assert scale.min() < 0.6 < 1.1 < scale.max()
    assert check_pixels(patches, image, config, read_at) > 100
    crops, _ = augment(patches, crop_size(config.train), device=CPU)
    corner = crops[scale < 0.6][:, :, 0, 0]  # what a shrunk image leaves free is grey, not its edge drawn out
    assert len(corner)
    assert torch.allclose(corner, torch.tensor(127.0), atol=0.01)


def test_smaller_images_lie_in_the_middle_of_whole_ones(coordinates, settings, read_at):
    """DeepLabCut cannot put images of two sizes into one batch: it stops with an error of torch.stack."""
    image = coordinates([[[20, 20], [30, 25], [24, 30]]], 50, 40)
    config = whole(settings({"data.train.crop_sampling": None}))
    patches = draw(image, config, 2)
    crops, labels = augment(patches, crop_size(config.train), device=CPU)
    assert crops.shape == (2, 3, 200, 240)
    assert torch.allclose(labels.xy[0, 0, 0], torch.tensor([20.0 + 95, 20 + 80]))
    assert check_pixels(patches, image, config, read_at) == 6
