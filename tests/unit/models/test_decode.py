from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from shoal.config.predict import PredictConfig
from shoal.models.decode import (
    decode,
    find_peaks,
    find_unique,
    limbs_anywhere,
    local_maxima,
    maxima_anywhere,
    score_limbs,
)  # fmt: skip
from shoal.models.pose import PoseMaps
from shoal.models.targets import Grid, Labels, heatmaps, limb_fields
from shoal.models.targets_dlc import dlc_targets

NAN = float("nan")


def maps_of(heat: torch.Tensor, limbs: torch.Tensor | None = None, stride: float = 4.0, **more) -> PoseMaps:
    none = heat.new_zeros(len(heat), 0, *heat.shape[2:])
    s = (stride, stride)
    limbs = none if limbs is None else limbs
    return PoseMaps(heat, limbs, more.pop("unique", none), more.pop("identity", none), (), s, s, (), **more)


def grid_of_keypoints(seed: int = 0, n: int = 30) -> torch.Tensor:
    """n positions well apart, anywhere within their cells: (1, n, 1, 2)."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.stack(torch.meshgrid(torch.arange(6), torch.arange(5), indexing="ij"), -1).view(-1, 2)[:n]
    return (40 * cells + 25 + 12 * torch.rand(n, 2, generator=generator))[None, :, None]


def nearest(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Distance of each true position to the nearest one found (torch.cdist is too coarse in float32)."""
    return (found[:, None] - true[None]).norm(dim=-1).min(0).values


def test_log_quadratic_finds_a_gaussian_exactly() -> None:
    xy = grid_of_keypoints()
    heat = heatmaps(xy, (60, 70), stride=4.0, sigma=5.0)
    peaks = find_peaks(maps_of(heat), min_confidence=0.1, cap=100)
    assert len(peaks.xy) == 30
    assert nearest(peaks.xy, xy[0, :, 0]).max() < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_neighbours_never_double_a_peak(dtype: torch.dtype) -> None:
    """bf16 maps have equal neighbours at the top of a peak (3 mAP points in recipe_spike.md)."""
    xy = grid_of_keypoints()
    xy[0, ::2] = (xy[0, ::2] / 4).round() * 4  # exactly between cells: two or four equal ones
    for sigma in (5.0, 8.0, 12.0):
        heat = heatmaps(xy, (60, 70), stride=4.0, sigma=sigma).to(dtype)
        window = torch.nn.functional.max_pool2d(heat.float(), 5, 1, 2)
        naive = ((heat.float() == window) & (heat.float() > 0.1)).sum()
        assert naive > 30, "this test must be able to fail"
        peaks = find_peaks(maps_of(heat), min_confidence=0.1, cap=100)
        assert len(peaks.xy) == 30
        assert nearest(peaks.xy, xy[0, :, 0]).max() < 4


def test_plateaus_give_one_peak() -> None:
    heat = torch.zeros(1, 1, 20, 20)
    heat[0, 0, 5:7, 5:8] = 0.5
    heat[0, 0, 15, 15] = 0.25
    peaks = find_peaks(maps_of(heat), min_confidence=0.1, cap=10)
    assert peaks.confidence.tolist() == [0.5, 0.25]


@pytest.mark.parametrize("radius", [1, 2])
def test_the_loop_on_the_cpu_finds_what_any_device_finds(radius: int) -> None:
    """Noise, plateaus, edges of odd sizes, and values that are none."""
    generator = torch.Generator().manual_seed(3)
    heat = (8 * torch.rand(2, 3, 37, 53, generator=generator)).round() / 8
    heat[0, 0, 3:9, 4] = NAN
    heat[0, 1, 20, 20:24] = float("inf")
    heat[1, 2, :, -1] = 0.9
    for grid in (heat, heat.to(memory_format=torch.channels_last), heat[:, :, ::2, 1:]):
        assert torch.equal(local_maxima(grid, radius, 0.3), maxima_anywhere(grid, radius, 0.3))
    assert len(local_maxima(heat, radius, 0.3)) > 50


def test_limbs_are_scored_on_the_cpu_as_on_any_device() -> None:
    """Random fields, several images, keypoints without peaks, values that are none, and too many candidates."""
    generator = torch.Generator().manual_seed(7)
    heat, limbs = torch.rand(3, 4, 25, 33, generator=generator), torch.randn(3, 6, 25, 33, generator=generator)
    heat[1, 2] = 0
    limbs[2, 1, 5] = NAN
    limbs[0, 4, 9] = 1e30
    edges = torch.tensor([[0, 1], [2, 3], [3, 0]])
    maps, config = maps_of(heat, limbs), PredictConfig(max_limbs=2, min_affinity=0.1)
    peaks = find_peaks(maps, min_confidence=0.5, cap=12)
    count = torch.bincount(peaks.image * 4 + peaks.keypoint, minlength=12).view(3, 4)
    first = count.flatten().cumsum(0).view(3, 4) - count
    here = score_limbs(maps, peaks, edges, config=config)
    anywhere = limbs_anywhere(maps, peaks, edges, config=config, bounds=(first, count))
    assert len(here.edge) > 100
    for name in ("image", "edge", "source", "target"):
        assert torch.equal(getattr(here, name), getattr(anywhere, name)), name
    assert torch.allclose(here.affinity, anywhere.affinity, atol=1e-5)


def test_maps_are_read_however_they_lie_in_memory() -> None:
    generator = torch.Generator().manual_seed(5)
    heat, limbs = (torch.rand(2, c, 30, 41, generator=generator) for c in (3, 4))
    edges = torch.tensor([[0, 1], [1, 2]])
    found = []
    for order in (torch.contiguous_format, torch.channels_last):
        maps = maps_of(heat.contiguous(memory_format=order), limbs.contiguous(memory_format=order))
        found.append(decode(maps, edges, config=PredictConfig(), n_animals=4)[:2])
    for a, b in zip(*found, strict=True):
        assert all(torch.equal(getattr(a, n), getattr(b, n)) for n in vars(a) if n != "n_dropped")
    assert len(found[0][1].edge) > 20


def test_cap_keeps_the_best_and_counts_the_rest() -> None:
    heat = torch.zeros(2, 2, 40, 40)
    for i, value in enumerate((0.3, 0.9, 0.5, 0.7)):
        heat[1, 0, 5, 5 + 8 * i] = value
    peaks = find_peaks(maps_of(heat), min_confidence=0.1, cap=2)
    assert peaks.n_dropped == 2
    assert torch.allclose(peaks.confidence, torch.tensor([0.9, 0.7]))
    assert peaks.image.tolist() == [1, 1]
    assert peaks.number.tolist() == [0, 1]


def test_numbers_restart_with_each_image() -> None:
    heat = torch.zeros(3, 2, 20, 20)
    heat[0, :, 5, 5] = heat[2, 1, 5, 5] = heat[2, 0, 15, 15] = 0.5
    peaks = find_peaks(maps_of(heat), min_confidence=0.1, cap=5)
    assert peaks.image.tolist() == [0, 0, 2, 2]
    assert peaks.number.tolist() == [0, 1, 0, 1]
    assert peaks.keypoint.tolist() == [0, 1, 0, 1]


def test_limbs_join_the_right_ends() -> None:
    animals = torch.tensor([[[20.0, 20.0], [60.0, 24.0]], [[22.0, 60.0], [62.0, 64.0]]])[None]
    edges = torch.tensor([[0, 1]])
    size = (24, 24)
    limbs, _ = limb_fields(animals, edges, size, stride=4.0, width=4.0)
    maps = maps_of(heatmaps(animals, size, stride=4.0, sigma=5.0), limbs)
    peaks, found, _ = decode(maps, edges, config=PredictConfig(min_affinity=0.5), n_animals=2)
    source, target = peaks.xy[found.source], peaks.xy[found.target]
    assert len(found.edge) == 2
    assert torch.allclose(target - source, torch.tensor([40.0, 4.0]), atol=0.1)
    assert (found.affinity > 0.95).all()


def test_at_most_max_limbs_per_source_best_first() -> None:
    heat = torch.zeros(1, 2, 20, 60)
    heat[0, 0, 10, 5] = 0.9
    heat[0, 1, 10, 15::10] = 0.9
    limbs = torch.zeros(1, 2, 20, 60)
    limbs[0, 0] = torch.linspace(1, 0.2, 60)
    maps = maps_of(heat, limbs)
    edges = torch.tensor([[0, 1]])
    peaks = find_peaks(maps, min_confidence=0.1, cap=20)
    found = score_limbs(maps, peaks, edges, config=PredictConfig(max_limbs=3))
    assert found.source.tolist() == [0, 0, 0]
    assert found.target.tolist() == [1, 2, 3]  # the nearest, where the field is strongest
    assert found.affinity.tolist() == sorted(found.affinity.tolist(), reverse=True)


def test_unique_keypoint_or_nothing() -> None:
    unique = torch.cat(
        [heatmaps(torch.tensor([[[[33.3, 21.7]]]]), (20, 20), stride=4.0, sigma=5.0), torch.zeros(1, 1, 20, 20)], 1
    )
    found = find_unique(maps_of(torch.zeros(1, 1, 20, 20), unique=unique), min_confidence=0.1)
    assert torch.allclose(found[0, 0, :2], torch.tensor([33.3, 21.7]), atol=0.01)
    assert found[0, 1, :2].isnan().all()
    assert found[0, 1, 2] == 0


def test_identity_is_read_at_the_peak() -> None:
    heat = torch.zeros(1, 1, 20, 20)
    heat[0, 0, 10, 12] = 0.9
    identity = torch.zeros(1, 3, 20, 20)
    identity[0, 2, 10, 12] = 8.0
    peaks = find_peaks(maps_of(heat, identity=identity), min_confidence=0.1, cap=5)
    assert peaks.identity.shape == (1, 3)
    assert peaks.identity[0, 2] > 0.99


def test_dlc_maps_are_read_through_locref() -> None:
    xy = torch.tensor([[[[50.7, 41.2], [91.3, 60.9]]]])
    grid = Grid((33, 33), 4.0, (17, 17), 8.0, 0)
    edges = torch.tensor([[0, 1]])
    targets = dlc_targets(Labels(xy, torch.zeros(1, 0, 2), torch.full((1, 1), -1)), grid, edges)
    # a trained network's map falls off towards the rim; plateaus themselves have one peak each by the tie-break
    logits = torch.logit(0.02 + 0.96 * heatmaps(xy, (33, 33), stride=4.0, sigma=8.0))
    maps = maps_of(logits, targets.limbs, locref=targets.locref, is_dlc=True)
    peaks, limbs, _ = decode(maps, edges, config=PredictConfig(), n_animals=1)
    assert torch.allclose(peaks.xy, xy[0, 0], atol=1e-4)
    assert len(limbs.edge) == 1


def dlc_maps(cells: list[tuple[int, int]], **more) -> PoseMaps:
    """One plain peak per keypoint at (x, y) cells of a 20 x 20 map, no locref."""
    logits = torch.full((1, len(cells), 20, 20), -8.0)
    for k, (x, y) in enumerate(cells):
        logits[0, k, y, x] = 8.0
    locref = torch.zeros(1, 2 * len(cells), 20, 20)
    return maps_of(logits, locref=locref, is_dlc=True, **more)


@pytest.mark.parametrize(
    ("end", "field", "wanted"),
    [
        ((14, 5), (0.8, 0.3), 0.8),  # along x only the x component counts
        ((3, 9), (0.6, 0.8), 0.734),  # 6 and 8 cells apart: hypot(0.6 * 6, 0.8 * 8) / 10
        ((14, 5), (-0.8, 0.0), 0.8),  # the direction is lost
        ((5, 5), (1.0, 1.0), 0.0),  # no length
    ],
)
def test_dlc_affinity(end: tuple[int, int], field: tuple[float, float], wanted: float) -> None:
    """The trapezoid rule along ten truncated cells, worked out by hand for constant fields."""
    start = (5, 5) if end != (3, 9) else (9, 17)
    limbs = torch.tensor(field).view(1, 2, 1, 1).expand(1, 2, 20, 20).contiguous()
    maps = dlc_maps([start, end], limbs=limbs)
    peaks = find_peaks(maps, min_confidence=0.01, cap=5)
    config = PredictConfig(min_affinity=0.0)
    found = score_limbs(maps, peaks, torch.tensor([[0, 1]]), config=config)
    assert found.affinity.tolist() == pytest.approx([wanted] if wanted else [], abs=1e-6)


def test_dlc_affinity_reads_truncated_cells() -> None:
    """From column 2 to 9: columns 2, 2, 3, 4, 5, 5, 6, 7, 8, 9 are read."""
    limbs = torch.zeros(1, 2, 20, 20)
    limbs[0, 0, 5] = torch.arange(20.0) ** 2
    maps = dlc_maps([(2, 5), (9, 5)], limbs=limbs)
    peaks = find_peaks(maps, min_confidence=0.01, cap=5)
    found = score_limbs(maps, peaks, torch.tensor([[0, 1]]), config=PredictConfig())
    columns = [2, 2, 3, 4, 5, 5, 6, 7, 8, 9]
    area = sum((b - a) * (a**2 + b**2) / 2 for a, b in pairwise(columns))
    assert found.affinity.tolist() == pytest.approx([area / 7], abs=6e-4)


@pytest.mark.parametrize(("stride", "offset"), [(4.0, 2.0), (1.0, 0.5)])
def test_dlc_keypoints_lie_at_cell_centres(stride: float, offset: float) -> None:
    """At stride 1 DeepLabCut itself says 0.0 where its targets were at 0.5 (dlc_formats.md 10): not copied."""
    maps = dlc_maps([(7, 3)], stride=stride)
    maps.locref[0, :, 3, 7] = torch.tensor([0.1, -0.2])  # type: ignore[index]
    peaks = find_peaks(maps, min_confidence=0.01, cap=5)
    wanted = torch.tensor([[7 * stride + offset + 0.1 * 7.2801, 3 * stride + offset - 0.2 * 7.2801]])
    assert torch.allclose(peaks.xy, wanted, atol=1e-4)


def test_dlc_peaks_beside_the_frames_edge_are_smoothed_with_what_lies_beyond() -> None:
    """Maps reach a cell over the edge; cutting it off before smoothing would move confidences."""
    maps = dlc_maps([(19, 8)])
    assert find_peaks(maps, min_confidence=0.01, cap=5).cell.tolist() == [[19, 8]]


def test_dlc_identity_is_read_between_cells() -> None:
    identity = torch.randn(1, 3, 10, 10, generator=torch.Generator().manual_seed(1))
    maps = dlc_maps([(3, 4), (0, 19), (17, 11)], identity=identity)
    peaks = find_peaks(replace(maps, side_stride=(8.0, 8.0)), min_confidence=0.01, cap=5)
    large = torch.nn.functional.interpolate(identity, size=(80, 80), mode="bilinear", antialias=True).sigmoid()
    x, y = peaks.xy.round().long().clamp(0, 79).T
    assert torch.allclose(peaks.identity, large[0, :, y, x].T, atol=1e-5)


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf"), 0.0, 1e30])
def test_odd_maps_never_raise(value: float) -> None:
    maps = maps_of(
        torch.full((2, 3, 9, 11), value), torch.full((2, 4, 9, 11), value), unique=torch.full((2, 1, 9, 11), value)
    )
    peaks, limbs, unique = decode(maps, torch.tensor([[0, 1], [1, 2]]), config=PredictConfig(), n_animals=2)
    assert peaks.xy.isfinite().all()
    assert limbs.affinity.isfinite().all()
    assert unique.shape == (2, 1, 3)


def test_no_edges_and_no_peaks() -> None:
    peaks, limbs, _ = decode(
        maps_of(torch.zeros(2, 1, 9, 9)), torch.zeros(0, 2, dtype=torch.int64), config=PredictConfig(), n_animals=2
    )
    assert len(peaks.number) == len(limbs.edge) == 0


WORST = """
import resource, time
import numpy as np, torch
from shoal.config.run import load_config
from shoal.models.checkpoint import LoadedModel, ModelInfo, build_model
from shoal.models.decode import decode
from shoal.models.detect import detect
from shoal.models.pose import PoseMaps
from shoal.types import FrameBatch, Skeleton

def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

torch.set_num_threads(2)
config = load_config(overrides=["model.input_scale=1", "model.edges=all"])
edges = np.array([(i, j) for i in range(9) for j in range(i + 1, 9)])
info = ModelInfo(Skeleton(tuple("abcdefghi")), edges, tuple("0123456789"), False, 60.0, config)
net = build_model(info, pretrained=False).eval()
torch.nn.init.normal_(net.body.head.weight, std=10.0)
model = LoadedModel(net, info, "0" * 64, torch.device("cpu"))
images = np.random.default_rng(0).integers(0, 255, (1, 972, 1296, 3), dtype=np.uint8)
detect(model, FrameBatch(np.arange(1), images[:, :64, :64]), config.predict)
before, start = used(), time.process_time()
detections, _, _ = detect(model, FrameBatch(np.arange(1), images), config.predict)
whole, seconds = used() - before, time.process_time() - start
# noise in every cell is worse than any network
generator = torch.Generator().manual_seed(0)
heat = torch.rand(1, 9, 243, 324, generator=generator)
limbs = torch.randn(1, 72, 243, 324, generator=generator)
s = (4.0, 4.0)
maps = PoseMaps(heat, limbs, heat[:, :0], heat[:, :0], (), s, s, ())
before, start = used(), time.process_time()
peaks, found, _ = decode(maps, torch.from_numpy(edges), config=config.predict, n_animals=10)
print(len(detections), whole, seconds, len(peaks.number), len(found.edge), used() - before, time.process_time() - start)
"""


def test_untrained_networks_stay_small_and_fast() -> None:
    """1296 x 972, 36 limbs: < 2 GB above the model and < 3 s a frame on two cores, network and decoding."""
    out = subprocess.run([sys.executable, "-c", WORST], capture_output=True, text=True, check=True).stdout
    n_seen, whole_mb, whole_s, n_peaks, n_limbs, decode_mb, decode_s = (float(v) for v in out.split())
    assert n_seen > 0
    assert whole_mb < 2000
    assert whole_s < 6  # CPU seconds of two cores
    assert n_peaks == 9 * 40
    assert 0 < n_limbs <= 36 * 40 * 3
    assert decode_mb < 2000
    assert decode_s < 6
