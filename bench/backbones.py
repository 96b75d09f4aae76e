"""How fast backbones are before anything is trained: the light network around each, with random weights.

    python bench/backbones.py resnet18,mobilenetv4_conv_small [--size 648x486]

Prints, one thread: the trunk in OpenVINO bf16 and int8 (calibrated on noise), ms a frame, the fastest of twelve; and
forward and backward on 8 crops of 192 px in bf16, images a second, the fastest of four. Accuracy is another matter.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from shoal.config.run import load_config
from shoal.models.limbs import choose_edges
from shoal.models.pose import PoseNet
from shoal.models.registry import build
from shoal.models.runtime.graph import Graph, quiet
from shoal.models.runtime.openvino import _import
from shoal.synthetic.scenes import SKELETON

OPTIONS = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}


def network(backbone: str) -> PoseNet:
    config = load_config(overrides=[f"model.backbone={backbone}", "model.input_scale=1"]).model
    return build(SKELETON, config, edges=choose_edges(SKELETON, [], "auto"), n_individuals=0)


def fastest(call: Callable[[], object], n: int) -> float:
    """Seconds; the first call does not count."""
    times: list[float] = []
    for _ in range(n + 1):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def trunk_ms(net: PoseNet, size: tuple[int, int]) -> tuple[float, float]:
    """(bf16, int8)."""
    ov = _import()
    import nncf

    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (1, *size, 3), dtype=np.uint8) for _ in range(2)]
    with quiet(), torch.inference_mode():
        plain = ov.convert_model(Graph(net), example_input=torch.from_numpy(frames[0]), input=[[1, *size, 3]])
    small = nncf.quantize(
        plain, nncf.Dataset(frames), preset=nncf.QuantizationPreset.MIXED, subset_size=2
    )  # all of it: what stays out of int8 in use depends on the network
    found: list[float] = []
    for one in (plain, small):
        request = ov.Core().compile_model(one, "CPU", OPTIONS).create_infer_request()
        found.append(1e3 * fastest(lambda r=request: r.infer({0: frames[0]}, share_inputs=True), 12))
    return found[0], found[1]


def images_per_s(net: PoseNet) -> float:
    net = net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    crops = (255 * torch.rand(8, 3, 192, 192)).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            maps = net.at_scale(crops)
        (maps.heat.float().square().mean() + maps.limbs.float().square().mean()).backward()

    return 8 / fastest(step, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbones")
    parser.add_argument("--size", default="648x486")
    args = parser.parse_args()
    torch.set_num_threads(1)
    width, _, height = args.size.partition("x")
    for backbone in args.backbones.split(","):
        bf16, int8 = trunk_ms(network(backbone).eval(), (int(height), int(width)))
        speed = images_per_s(network(backbone))
        print(f"{backbone:<28} bf16 {bf16:.1f} ms, int8 {int8:.1f} ms, training {speed:.1f} images/s", flush=True)


if __name__ == "__main__":
    main()
