"""DLC's networks (dlc_formats.md 4.3): a state dict goes both ways if and only if names, shapes and maps agree.

The golden file holds what DeepLabCut 3.0.2 itself made of weights that both sides can make (tests/peer).
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shoal.io.dlc.pytorch_config import NETS
from shoal.models.dlc_networks import DlcBody
from shoal.models.pose import PoseNet
from shoal.models.registry import IMAGENET

TESTS = Path(__file__).parents[2]
sys.path.insert(0, str(TESTS / "peer"))
from made_weights import MAPS, TOLERANCE, made_images, made_weight, samples  # noqa: E402

GOLDEN = json.loads((TESTS / "golden" / "dlc_networks.json").read_text())
K, E, U, I = 4, 6, 2, 3  # noqa: E741
R = 128 + K + 2 * E
C = 2048
TABLE = {
    "backbone.model.conv1.weight": (64, 3, 7, 7),
    "backbone.model.bn1.weight": (64,),
    "backbone.model.bn1.bias": (64,),
    "backbone.model.layer1.0.conv1.weight": (64, 64, 1, 1),
    "heads.bodypart.convt1.weight": (C, K, 3, 3),
    "heads.bodypart.convt1.bias": (K,),
    "heads.bodypart.convt2.weight": (C, 2 * K, 3, 3),
    "heads.bodypart.convt3.weight": (C, 2 * E, 3, 3),
    "heads.bodypart.convt4.weight": (C, 128, 3, 3),
    **{f"heads.bodypart.hm_ref_layers.{i}.weight": (K, R, 3, 3) for i in range(5)},
    **{f"heads.bodypart.paf_ref_layers.{i}.weight": (2 * E, R, 3, 3) for i in range(5)},
    "heads.bodypart.heatmap_head.deconv_layers.0.weight": (R, K, 3, 3),
    "heads.bodypart.paf_head.deconv_layers.0.weight": (R, 2 * E, 3, 3),
    "heads.bodypart.locref_head.deconv_layers.0.weight": (2 * K, 2 * K, 3, 3),
    "heads.unique_bodypart.heatmap_head.deconv_layers.0.weight": (C, U, 3, 3),
    "heads.unique_bodypart.locref_head.deconv_layers.0.weight": (C, 2 * U, 3, 3),
    "heads.identity.heatmap_head.deconv_layers.0.weight": (C, I, 3, 3),
}


def shapes_only(net: str, **more) -> DlcBody:
    """A network without numbers: its names, shapes and map sizes cost nothing."""
    with torch.device("meta"):
        return DlcBody(net, (K, 2 * E, U, I), **more).eval()


def filled(net: str, **more) -> PoseNet:
    body = shapes_only(net, **more)
    state = {n: torch.from_numpy(made_weight(n, tuple(v.shape))) for n, v in body.state_dict().items()}
    body.load_state_dict(state, assign=True)
    return PoseNet(body, mean=IMAGENET[0], std=IMAGENET[1], input_scale=1.0).eval()


def test_keys_and_shapes_of_the_specification() -> None:
    state = shapes_only("resnet_50").state_dict()
    assert {name: tuple(state[name].shape) for name in TABLE} == TABLE
    assert sum(name.startswith("backbone.model.") for name in state) == 159
    heads = {name for name in state if name.startswith("heads.")}
    expected = {name for name in TABLE if name.startswith("heads.")}
    assert heads == expected | {name.replace("weight", "bias") for name in expected}


@pytest.mark.parametrize("net", list(NETS))
def test_keys_and_shapes_are_deeplabcuts(net: str) -> None:
    shapes = sorted(f"{name} {tuple(value.shape)}" for name, value in shapes_only(net).state_dict().items())
    assert len(shapes) == GOLDEN[net]["tensors"]
    assert hashlib.sha256("\n".join(shapes).encode()).hexdigest() == GOLDEN[net]["keys_sha256"]


@pytest.mark.parametrize("net", list(NETS))
def test_the_whole_maps_were_compared_with_deeplabcuts(net: str) -> None:
    assert set(GOLDEN[net]["relative_error"]) == set(MAPS)
    assert max(GOLDEN[net]["relative_error"].values()) <= TOLERANCE


@pytest.mark.parametrize("net", ["resnet_50", "dlcrnet_stride32_ms5", "hrnet_w18"])
def test_maps_are_deeplabcuts(net: str) -> None:
    """One network of each kind; tests/peer compares all seven, every value."""
    with torch.inference_mode():
        maps = filled(net)(torch.from_numpy(made_images()))
    for name, mine in MAPS.items():
        stored = GOLDEN[net]["maps"][name]
        found = getattr(maps, mine).numpy()
        assert list(found.shape) == stored["shape"]
        assert np.abs(samples(found) - stored["samples"]).max() <= TOLERANCE * stored["range"]


@pytest.mark.parametrize("size", [(64, 96), (65, 79)])
def test_map_sizes(size: tuple[int, int]) -> None:
    """resnet: bodypart maps 4 ceil(H / 16) + 1, the others 2 ceil(H / 16) + 1."""
    height, width = size
    maps = shapes_only("resnet_50")(torch.zeros(1, 3, height, width, device="meta"))
    rows, columns = -(-height // 16), -(-width // 16)
    assert maps.heat.shape == (1, K, 4 * rows + 1, 4 * columns + 1)
    assert maps.limbs.shape[1] == 2 * E
    assert maps.locref is not None
    assert maps.locref.shape[1] == 2 * K
    assert maps.unique.shape == (1, U, 2 * rows + 1, 2 * columns + 1)
    assert maps.identity.shape == (1, I, 2 * rows + 1, 2 * columns + 1)
    assert (maps.stride, maps.side_stride) == ((4.0, 4.0), (8.0, 8.0))


def test_strides() -> None:
    image = torch.zeros(1, 3, 64, 96, device="meta")
    found = {net: shapes_only(net)(image) for net in ("dlcrnet_stride16_ms5", "dlcrnet_stride32_ms5", "hrnet_w18")}
    strides = {net: (maps.stride[0], maps.side_stride[0], maps.feature_strides[0][0]) for net, maps in found.items()}
    assert list(strides.values()) == [(4.0, 8.0, 16.0), (4.0, 16.0, 32.0), (1.0, 2.0, 4.0)]
    assert found["hrnet_w18"].heat.shape[2:] == (65, 97)
    assert found["dlcrnet_stride32_ms5"].heat.shape[2:] == (8 * 2 + 3, 8 * 3 + 3)


def test_limbs_that_are_not_kept_are_left_out() -> None:
    all_limbs, some = filled("hrnet_w18"), filled("hrnet_w18", keep=[4, 1])
    image = torch.from_numpy(made_images()[:1, :32, :32])
    with torch.inference_mode():
        assert torch.equal(all_limbs(image).limbs[:, [8, 9, 2, 3]], some(image).limbs)


def test_refinement_adds_to_heatmaps_but_not_to_limbs() -> None:
    """With all refinement layers at zero, heatmaps stay those of the first stage (zero) and limbs are zero."""
    body = filled("resnet_50").body
    head = body.heads["bodypart"]  # type: ignore[index]
    with torch.no_grad():
        for layers in (head.hm_ref_layers, head.paf_ref_layers):  # type: ignore[union-attr]
            for layer in layers:  # type: ignore[union-attr]
                layer.weight.zero_()
                layer.bias.fill_(1.0)
        seen: list[torch.Tensor] = []
        hook = head.heatmap_head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))  # type: ignore[union-attr]
        body(torch.zeros(1, 3, 32, 32))
        hook.remove()
    joined = seen[0]
    assert torch.equal(joined[:, :K], torch.full_like(joined[:, :K], 5.0))  # five stages, each adding 1
    assert torch.equal(joined[:, K : K + 2 * E], torch.ones_like(joined[:, K : K + 2 * E]))


def test_no_gradient_goes_back_through_the_side_paths() -> None:
    net = filled("dlcrnet_stride16_ms5")
    backbone = net.body.backbone  # type: ignore[union-attr]
    backbone(torch.rand(1, 3, 32, 32))[:, :256].sum().backward()  # type: ignore[operator]
    assert backbone.conv_block3[0].weight.grad is not None  # type: ignore[union-attr,index]
    assert not backbone.model.conv1.weight.grad.any()  # type: ignore[union-attr]
