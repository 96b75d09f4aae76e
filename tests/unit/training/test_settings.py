from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from shoal.config.run import load_config
from shoal.errors import ProjectError
from shoal.training.settings import resolve
from shoal.types import LabeledFrame


def labels(length: float, n: int = 10) -> list[LabeledFrame]:
    xy = np.array([[[100, 100], [100 + length, 100]]], np.float32)
    return [
        LabeledFrame(Path("x.png"), "v", i, xy, np.ones((1, 2), bool), np.array([-1]), np.zeros((0, 2)))
        for i in range(n)
    ]


def test_nothing_stays_automatic() -> None:
    for name in ("light", "resnet_50"):
        found = resolve(load_config(overrides=[f"model.name={name}"]), labels(80))
        train = found.train
        assert found.model.input_scale > 0
        assert min(train.crop_px, train.learning_rate, train.limb_width_px, train.crops_per_image) > 0
        assert (train.heat_sigma_px > 0) == (name == "light")  # DLC's shape has plateaus unless a Gaussian is asked for


@pytest.mark.parametrize("length", [20.0, 66.0, 120.0, 300.0, 5000.0])
def test_large_animals_are_shrunk_small_ones_are_not(length: float) -> None:
    found = resolve(load_config(), labels(length))
    assert 0.125 <= found.model.input_scale <= 1
    assert found.model.input_scale == 1 or length * found.model.input_scale >= 32
    assert found.train.crop_px % 32 == 0


def test_what_the_user_sets_stays() -> None:
    asked = ["model.input_scale=0.3", "train.crop_px=160", "train.learning_rate=0.01", "train.crops_per_image=3"]
    found = resolve(load_config(overrides=asked), labels(80))
    assert found.model.input_scale == 0.3
    assert (found.train.crop_px, found.train.learning_rate, found.train.crops_per_image) == (160, 0.01, 3)


def test_few_images_get_more_crops() -> None:
    few, many = (resolve(load_config(), labels(80, n)).train for n in (5, 2000))
    assert few.crops_per_image > 1
    assert many.crops_per_image == 1


def test_without_labels_there_are_still_numbers() -> None:
    nan = labels(float("nan"))
    assert resolve(load_config(), nan).model.input_scale == 1.0


def test_whole_images_are_as_large_as_the_largest(tmp_path: Path) -> None:
    found = []
    for name, (width, height) in {"a.png": (160, 96), "b.png": (120, 100)}.items():
        cv2.imwrite(str(tmp_path / name), np.zeros((height, width, 3), np.uint8))
        found.append(replace(labels(80, 1)[0], image=tmp_path / name))
    asked = ["model.name=resnet_50", "train.crop_method=whole"]
    config = resolve(load_config(overrides=asked), found)
    assert (config.train.crop_px, config.train.crop_height_px) == (160, 100)
    assert resolve(config, found[1:]) == config  # a trial looks at some of the images only
    half = resolve(load_config(overrides=[*asked, "model.input_scale=0.5"]), found)
    assert (half.train.crop_px, half.train.crop_height_px) == (80, 50)
    with pytest.raises(ProjectError, match="where: "):
        resolve(load_config(overrides=asked), [replace(found[0], image=tmp_path / "none.png")])
