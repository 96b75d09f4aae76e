from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from shoal.config.train import AugmentConfig
from shoal.errors import ProjectError
from shoal.training.data import cache_folder, cache_images, draw_patches, epoch_rows, patch_side
from shoal.types import LabeledFrame

STILL = AugmentConfig(rotation_deg=0, scale=(1.0, 1.0), flip=0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def label(path: Path, xy: object = ((20.0, 30.0), (40.0, 50.0)), size: tuple[int, int] = (80, 120)) -> LabeledFrame:
    image = np.random.default_rng(1).integers(0, 255, (*size, 3), dtype=np.uint8)
    cv2.imwrite(str(path), image)
    animals = np.array(xy, np.float32)[None]
    return LabeledFrame(path, "v", 0, animals, np.isfinite(animals[..., 0]), np.array([0]), np.zeros((0, 2)))


def test_images_are_decoded_once_and_labels_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [label(tmp_path / "a.png")]
    first = cache_images(labels, scale=0.5)[0]
    assert first.pixels().shape == (40, 60, 3)
    assert first.xy[0].tolist() == [[10, 15], [20, 25]]
    assert first.file.parent == cache_folder()
    monkeypatch.setattr("shoal.training.data.read_image", None)  # a second decoding would fail
    again = cache_images(labels, scale=0.5)[0]
    assert again.file == first.file
    assert again.xy.tolist() == first.xy.tolist()


def test_a_changed_image_is_decoded_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    before = cache_images([label(path)], scale=1.0)[0]
    changed = label(path, size=(80, 122))
    after = cache_images([changed], scale=1.0)[0]
    assert after.file != before.file
    assert after.pixels().shape == (80, 122, 3)


@pytest.mark.parametrize("content", [None, b"", b"not an image"])
def test_images_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None) -> None:
    broken = label(tmp_path / "a.png")
    broken.image.unlink()
    if content is not None:
        broken.image.write_bytes(content)
    with pytest.raises(ProjectError, match=r"a\.png"):
        cache_images([broken], scale=1.0)


def test_every_image_comes_once_before_any_comes_twice() -> None:
    rows = epoch_rows(5, 13, seed=1, epoch=2)
    assert sorted(rows[:5]) == sorted(rows[5:10]) == list(range(5))
    assert len(rows) == 13
    assert rows.tolist() == epoch_rows(5, 13, seed=1, epoch=2).tolist()
    assert rows.tolist() != epoch_rows(5, 13, seed=1, epoch=3).tolist()


def test_patches_depend_on_the_counters_only(tmp_path: Path) -> None:
    images = cache_images([label(tmp_path / "a.png")], scale=1.0) * 4

    def draw(*counters: int) -> bytes:
        found = draw_patches(images, 32, AugmentConfig(), counters=counters, mirror=np.arange(2))  # type: ignore[arg-type]
        return b"".join(getattr(found, n).tobytes() for n in ("pixels", "matrix", "xy", "light")) + bytes(
            found.noise_seed % 7
        )

    assert draw(0, 1, 2) == draw(0, 1, 2)
    assert len({draw(0, 1, 2), draw(1, 1, 2), draw(0, 2, 2), draw(0, 1, 3)}) == 4


def test_crops_lie_near_animals(tmp_path: Path) -> None:
    image = cache_images([label(tmp_path / "a.png", ((150.0, 160.0), (160.0, 150.0)), (400, 600))], scale=1.0)[0]
    found = draw_patches([image] * 200, 64, STILL, counters=(0, 0, 0), mirror=np.arange(2))
    inside = ((found.xy > 0) & (found.xy < 64)).all(-1).any((1, 2)) if found.xy.shape[1] else np.zeros(200)
    assert 0.8 < inside.mean() < 1.0  # nine tenths near an animal, the rest anywhere


def test_beyond_the_border_lies_the_fill_value(tmp_path: Path) -> None:
    image = cache_images([label(tmp_path / "a.png", ((1.0, 1.0), (2.0, 2.0)), (40, 40))], scale=1.0)[0]
    found = draw_patches([image] * 8, 128, STILL, counters=(0, 0, 0), mirror=np.arange(2), fill=77)
    assert (found.pixels == 77).mean() > 0.5
    side = patch_side(128, STILL)
    assert found.pixels.shape == (8, side, side, 3)


def test_images_without_labels_give_crops_without_animals(tmp_path: Path) -> None:
    nan = float("nan")
    image = cache_images([label(tmp_path / "a.png", ((nan, nan), (nan, nan)))], scale=1.0)[0]
    found = draw_patches([image] * 3, 32, AugmentConfig(), counters=(0, 0, 0), mirror=np.arange(2))
    assert found.xy.shape == (3, 0, 2, 2)


def test_the_image_cache_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.training.data.CACHE_BYTES", 1)
    old, young = (
        cache_images([label(tmp_path / f"{side}.png", size=(side, 40))], scale=1.0)[0].file for side in (40, 50)
    )
    long_ago = time.time() - 8 * 86400
    os.utime(old, (long_ago, long_ago))
    kept = cache_images([label(tmp_path / "new.png")], scale=1.0)[0].file
    assert not old.exists()
    assert young.exists() and kept.exists()
