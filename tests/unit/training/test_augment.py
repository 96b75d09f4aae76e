from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from shoal.config.train import AugmentConfig
from shoal.models.targets import Grid, light_targets
from shoal.training.augment import augment, resample
from shoal.training.data import Patches, TrainImage, draw_patches

CPU = torch.device("cpu")
CROP = 64
PLAIN = {"brightness": 0.0, "contrast": 0.0, "color": 0.0, "blur": 0.0, "noise": 0.0}
MIRROR = np.array([1, 0, 2])


@pytest.fixture
def image(tmp_path: Path) -> TrainImage:
    """Pixels that say where they are; two animals of three keypoints."""
    y, x = np.mgrid[:200, :240]
    np.save(tmp_path / "a.npy", np.stack([x, y, np.full_like(x, 9)], -1).astype(np.uint8))
    xy = np.array([[[100, 90], [110, 95], [120, 100]], [[60, 120], [70, 111], [80, 107]]], np.float32)
    return TrainImage(tmp_path / "a.npy", xy, np.zeros((1, 2), np.float32) + 100, np.array([3, -1]))


def draw(image: TrainImage, config: AugmentConfig, n: int = 6, step: int = 0, crop: int = CROP) -> Patches:
    return draw_patches([image] * n, crop, config, counters=(0, 0, step), mirror=MIRROR)


def read_at(crops: torch.Tensor, xy: torch.Tensor) -> torch.Tensor:
    """Bilinear reading of (B, C, h, w) at (B, N, 2) crop px -> (B, N, C)."""
    grid = (xy / crops.shape[-1] * 2 - 1)[:, :, None]
    return torch.nn.functional.grid_sample(crops, grid, align_corners=False)[..., 0].permute(0, 2, 1)


@pytest.mark.parametrize("crop", [64, 96])
@pytest.mark.parametrize(
    "changes",
    [
        {"rotation_deg": 0, "scale": (1.0, 1.0), "flip": 0},
        {"rotation_deg": 180, "scale": (1.0, 1.0), "flip": 0},
        {"rotation_deg": 0, "scale": (0.7, 1.4), "flip": 0},
        {"rotation_deg": 0, "scale": (1.0, 1.0), "flip": 1},
        {"rotation_deg": 180, "scale": (0.7, 1.4), "flip": 0.5},
    ],
)
def test_pixels_at_a_label_are_those_of_the_image(image: TrainImage, changes: dict, crop: int) -> None:
    """The coordinate image through cutting, turning, scaling and mirroring."""
    patches = draw(image, AugmentConfig(**changes, **PLAIN), crop=crop)
    crops, labels = augment(patches, crop, device=CPU)
    n_checked = 0
    for i in range(len(crops)):
        for animal in labels.xy[i]:
            seen = read_at(crops[i : i + 1], animal[None])[0, :, :2] + 0.5
            inside = ((animal > 2) & (animal < crop - 2)).all(-1) & (seen > 3).all(-1)
            # which animal of the image is it? names are swapped in mirror images
            for original in image.xy:
                named = torch.from_numpy(original.copy())
                errors = [(seen - named[order]).norm(dim=-1) for order in ([0, 1, 2], MIRROR.tolist())]
                if min(e[inside].max() for e in errors if inside.any()) < 5 if inside.any() else False:
                    assert min(e[inside].max() for e in errors) < 0.05
                    n_checked += int(inside.sum())
    assert n_checked > 15


def test_flip_mirrors_pixels_targets_and_names(image: TrainImage) -> None:
    still = {"rotation_deg": 0, "scale": (1.0, 1.0)}
    straight = draw(image, AugmentConfig(**still, flip=0, **PLAIN))
    flipped = draw(image, AugmentConfig(**still, flip=1, **PLAIN))
    one, labels = augment(straight, CROP, device=CPU)
    other, mirrored = augment(flipped, CROP, device=CPU)
    assert torch.allclose(one.flip(-1), other, atol=1e-3)
    grid = Grid((16, 16), 4.0, (16, 16), 4.0, 4)
    edges = torch.tensor([[0, 2], [1, 2]])
    a = light_targets(labels, grid, edges, sigma=5.0, limb_width=4.0)
    b = light_targets(mirrored, grid, edges, sigma=5.0, limb_width=4.0)
    assert torch.allclose(a.heat[:, MIRROR].flip(-1), b.heat, atol=1e-4)
    sign = torch.tensor([-1.0, 1.0])[None, None, :, None, None]
    expected = a.limbs.unflatten(1, (2, 2))[:, [1, 0]].flip(-1) * sign
    assert torch.allclose(expected, b.limbs.unflatten(1, (2, 2)), atol=1e-4)
    assert torch.equal(a.identity.flip(-1), b.identity)


def test_shift_moves_pixels_and_targets_together(image: TrainImage) -> None:
    pixels = torch.from_numpy(image.pixels().copy()).permute(2, 0, 1)[None].float()
    matrix = torch.tensor([[[1.0, 0.0, 40.0], [0.0, 1.0, 50.0]]])
    moved = matrix.clone()
    moved[0, :, 2] += torch.tensor([8.0, 4.0])
    one, other = resample(pixels, matrix, CROP), resample(pixels, moved, CROP)
    assert torch.allclose(one[..., 4:, 8:], other[..., :-4, :-8], atol=1e-3)
    assert torch.allclose(one[0, 0, 0, :3], torch.tensor([40.0, 41.0, 42.0]), atol=1e-3)


def test_light_changes_pixels_but_not_labels(image: TrainImage) -> None:
    still = {"rotation_deg": 0, "scale": (1.0, 1.0), "flip": 0}
    plain, labels = augment(draw(image, AugmentConfig(**still, **PLAIN)), CROP, device=CPU)
    for name, value in (("brightness", 0.3), ("contrast", 0.5), ("color", 0.3), ("noise", 0.2)):
        changed, same = augment(draw(image, AugmentConfig(**{**still, **PLAIN, name: value})), CROP, device=CPU)
        assert (changed - plain).abs().mean() > 1, name
        assert torch.equal(labels.xy.nan_to_num(-1), same.xy.nan_to_num(-1))
        assert changed.min() >= 0
        assert changed.max() <= 255
    patches = draw(image, AugmentConfig(**{**still, **PLAIN, "blur": 1.0}))
    patches.pixels[:, ::2] = 0
    blurred, _ = augment(patches, CROP, device=CPU)
    assert (
        blurred.diff(dim=2).abs().mean()
        < 0.5
        * resample(
            torch.from_numpy(patches.pixels).permute(0, 3, 1, 2).float(), torch.from_numpy(patches.matrix).float(), CROP
        )
        .diff(dim=2)
        .abs()
        .mean()
    )


def test_the_same_counters_give_the_same_crops(image: TrainImage) -> None:
    first, again, other = (augment(draw(image, AugmentConfig(), step=s), CROP, device=CPU)[0] for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
