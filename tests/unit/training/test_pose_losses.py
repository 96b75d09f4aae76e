"""Losses of the held-out images: whole, unchanged, one by one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from shoal.models.pose import PoseMaps
from shoal.training.pose import PoseTask, Recipe
from shoal.types import LabeledFrame


def test_test_images_are_seen_whole_and_their_losses_averaged(tmp_path: Path, settings):
    sizes, labels = [], []
    for i, (h, w) in enumerate(((40, 60), (48, 64))):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), np.full((h, w, 3), 9, np.uint8))
        xy = np.full((1, 3, 2), 20.0)
        labels.append(LabeledFrame(path, "v", i, xy, np.ones((1, 3), bool), np.array([0]), np.zeros((0, 2))))

    def at_scale(image):
        _, _, h, w = image.shape
        sizes.append((h, w))

        def maps(n: int) -> torch.Tensor:
            return torch.zeros(1, n, h // 4, w // 4)

        stride = (4.0, 4.0)
        return PoseMaps(maps(3), maps(4), maps(0), maps(0), (), stride, stride, (), maps(6), maps(0), is_dlc=True)

    info = SimpleNamespace(edges=[[0, 1], [0, 2]], config=settings())
    task = PoseTask(
        SimpleNamespace(labels=labels), [], np.arange(2), info, None, tmp_path, torch.device("cpu"), {}, 127,
        Recipe(), lambda *_: None,
    )  # fmt: skip
    found = task._test_losses(SimpleNamespace(at_scale=at_scale))
    assert sizes == [(40, 60), (48, 64)]
    assert set(found) == {"eval.heat", "eval.locref", "eval.limb"}
    assert found["eval.heat"] == pytest.approx(np.log(2) / 3, rel=1e-5)  # logits of zero, a third of the head's loss
    assert 0 < found["eval.locref"] < 0.05
