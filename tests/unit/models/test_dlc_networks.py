"""Names and shapes of DLC's network (dlc_formats.md 4.3): a state dict goes both ways if and only if these agree."""

from __future__ import annotations

import pytest
import torch

from shoal.models.resnet_dlc import DlcBody

K, E, U, I, C = 5, 4, 2, 3, 2048  # noqa: E741
R = 128 + K + 2 * E

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


@pytest.fixture(scope="module")
def body() -> DlcBody:
    return DlcBody("resnet50_gn", (K, 2 * E, U, I)).eval()


def test_keys_and_shapes(body: DlcBody) -> None:
    state = body.state_dict()
    assert {name: tuple(state[name].shape) for name in TABLE} == TABLE
    assert sum(name.startswith("backbone.model.") for name in state) == 159
    heads = {name for name in state if name.startswith("heads.")}
    expected = {name for name in TABLE if name.startswith("heads.")}
    assert heads == expected | {name.replace("weight", "bias") for name in expected}


@pytest.mark.parametrize("size", [(64, 96), (65, 79)])
def test_map_sizes(body: DlcBody, size: tuple[int, int]) -> None:
    """Bodypart maps 4 ceil(H / 16) + 1, the others 2 ceil(H / 16) + 1."""
    height, width = size
    with torch.no_grad():
        maps = body(torch.zeros(1, 3, height, width))
    rows, columns = -(-height // 16), -(-width // 16)
    assert maps.heat.shape == (1, K, 4 * rows + 1, 4 * columns + 1)
    assert maps.limbs.shape[1] == 2 * E
    assert maps.locref is not None
    assert maps.locref.shape[1] == 2 * K
    assert maps.unique.shape == (1, U, 2 * rows + 1, 2 * columns + 1)
    assert maps.identity.shape == (1, I, 2 * rows + 1, 2 * columns + 1)
    assert (maps.stride, maps.side_stride) == ((4.0, 4.0), (8.0, 8.0))


def test_refinement_adds_to_heatmaps_but_not_to_limbs(body: DlcBody) -> None:
    """With all refinement layers at zero, heatmaps stay those of the first stage (zero) and limbs are zero."""
    head = body.heads["bodypart"]
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
