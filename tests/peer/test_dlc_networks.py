"""DeepLabCut's networks and shoal's give the same maps for the same weights, whoever wrote the file.

Runs where ``SHOAL_DLC_PYTHON`` names a Python with deeplabcut 3.0.2 (``scripts/peer``). With ``SHOAL_STORE_PEER`` set
the results go to ``tests/golden/dlc_networks.json``, which the ordinary tests compare with.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.project import write_config
from shoal.io.dlc.pytorch_config import model_section, read_pytorch_config
from shoal.models.decode import _dlc_affinity, find_peaks, find_unique
from shoal.models.dlc_networks import DlcBody
from shoal.models.dlc_snapshots import open_snapshot, save_snapshot
from shoal.types import Skeleton

sys.path.insert(0, str(Path(__file__).parent))
from made_weights import (
    HEIGHT,
    INDIVIDUALS,
    KEYPOINTS,
    MAPS,
    NETS,
    TOLERANCE,
    UNIQUE,
    WIDTH,
    made_images,
    made_weight,
    samples,
)

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(1800)]

GOLDEN = Path(__file__).parents[1] / "golden" / "dlc_networks.json"
CHANNELS = (len(KEYPOINTS), 12, len(UNIQUE), len(INDIVIDUALS))  # all six pairs of four keypoints


@pytest.fixture(scope="module")
def looked(tmp_path_factory) -> Path:
    """A folder per network: DeepLabCut's configuration, snapshot and maps, and its maps of shoal's snapshot."""
    if made := os.environ.get("SHOAL_PEER_NETWORKS"):  # of an earlier run
        return Path(made)
    python = os.environ.get("SHOAL_DLC_PYTHON")
    if not python:
        pytest.skip("SHOAL_DLC_PYTHON is not set")
    root = tmp_path_factory.mktemp("networks")
    _write_project(root / "project")
    for net in NETS:
        (root / net).mkdir()
        body = made_body(net, seed=1)
        save_snapshot(root / net / "shoal.pt", body, epoch=3, metrics={"metrics/test.mAP": 50.0}, losses={})
    script = Path(__file__).with_name("dlc_maps.py")
    words = [python, script, root / "project" / "config.yaml", root, *NETS]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr[-600:]
    return root


def made_body(net: str, seed: int = 0) -> DlcBody:
    """shoal's network with made weights."""
    with torch.device("meta"):
        body = DlcBody(net, CHANNELS)
    state = {n: torch.from_numpy(made_weight(n, tuple(v.shape), seed)) for n, v in body.state_dict().items()}
    body.load_state_dict(state, assign=True)
    return body.eval()


def _write_project(root: Path) -> None:
    skeleton = Skeleton(KEYPOINTS, edges=[[0, 1], [0, 2], [0, 3]], unique=UNIQUE)
    folder = root / "labeled-data" / "v"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    images = [f"img{i}.png" for i in range(4)]
    for image in images:
        cv2.imwrite(str(folder / image), made_images()[0])
    xy, unique_xy = random.uniform(5, 90, (4, 3, 4, 2)), random.uniform(5, 90, (4, 2, 2))
    write_labels(
        folder, scorer="me", skeleton=skeleton, individuals=INDIVIDUALS, images=images, xy=xy, unique_xy=unique_xy
    )
    write_config(
        root / "config.yaml", task="p", scorer="me", date="Nov22", skeleton=skeleton, individuals=INDIVIDUALS,
        videos={root / "videos" / "v.mp4": (WIDTH, HEIGHT)}, identity=True,
    )  # fmt: skip


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.ptp(wanted))


@pytest.mark.parametrize("net", NETS)
def test_maps_of_deeplabcuts_snapshot(looked: Path, net: str) -> None:
    theirs = np.load(looked / net / "maps.npz")
    model = open_snapshot(looked / net / "snapshot-001.pt")
    with torch.inference_mode():
        maps = model.net(torch.from_numpy(made_images()))
    error = {n: relative_error(getattr(maps, mine).numpy(), theirs[f"maps.{n}"]) for n, mine in MAPS.items()}
    assert max(error.values()) <= TOLERANCE
    if os.environ.get("SHOAL_STORE_PEER"):
        _store(net, model.net.body, theirs, error)


def _store(net: str, body, theirs, error: dict[str, float]) -> None:
    stored = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    shapes = sorted(f"{name} {tuple(value.shape)}" for name, value in body.state_dict().items())
    stored[net] = {
        "tensors": len(shapes),
        "keys_sha256": hashlib.sha256("\n".join(shapes).encode()).hexdigest(),
        "relative_error": {name: float(f"{value:.2g}") for name, value in error.items()},
        "maps": {
            name: {
                "shape": list(theirs[f"maps.{name}"].shape),
                "range": float(f"{np.ptp(theirs[f'maps.{name}']):.6g}"),
                "samples": [float(f"{value:.7g}") for value in samples(theirs[f"maps.{name}"])],
            }
            for name in MAPS
        },
    }
    GOLDEN.write_text(json.dumps(dict(sorted(stored.items())), indent=1) + "\n")


@pytest.mark.parametrize("net", NETS)
def test_deeplabcut_loads_shoals_snapshot(looked: Path, net: str) -> None:
    theirs = np.load(looked / net / "maps_of_shoal.npz")
    (looked / net / "snapshot-003.pt").write_bytes((looked / net / "shoal.pt").read_bytes())
    model = open_snapshot(looked / net / "snapshot-003.pt")
    assert (model.epoch, model.scores) == (3, {"mAP": 50.0})
    with torch.inference_mode():
        maps = model.net(torch.from_numpy(made_images()))
    for name, mine in MAPS.items():
        assert relative_error(getattr(maps, mine).numpy(), theirs[f"maps.{name}"]) <= TOLERANCE


@pytest.mark.parametrize("net", NETS)
def test_predictions(looked: Path, net: str) -> None:
    """Unique keypoints and identity scores are DeepLabCut's; so is every keypoint that it gave an animal.

    At stride 1 (HRNet) DeepLabCut's keypoints lie half a pixel left of and above of where its targets were.
    """
    theirs = np.load(looked / net / "maps.npz")
    model = open_snapshot(looked / net / "snapshot-001.pt")
    with torch.inference_mode():
        maps = model.net(torch.from_numpy(made_images()))
        unique = find_unique(maps, min_confidence=0.0).numpy()
        peaks = find_peaks(maps, min_confidence=0.01, cap=10_000)
    bias = 0.5 if maps.stride[0] == 1 else 0.0
    wanted = theirs["found.unique_bodypart.poses"][:, 0]
    assert np.abs(unique - wanted).max() < 0.01
    enlarged = theirs["found.identity.heatmap"]
    n_found = 0
    for image, animal, keypoint in np.ndindex(*theirs["found.bodypart.poses"].shape[:3]):
        x, y, score = theirs["found.bodypart.poses"][image, animal, keypoint, :3]
        if not np.isfinite(x) or score < 0:
            continue
        mine = ((peaks.image == image) & (peaks.keypoint == keypoint)).numpy()
        distance = np.hypot(*(peaks.xy.numpy()[mine] - bias - [x, y]).T)
        nearest = int(distance.argmin())
        assert distance[nearest] < 0.01
        assert abs(peaks.confidence.numpy()[mine][nearest] - score) < 1e-3
        column, row = np.clip(
            np.round(peaks.xy.numpy()[mine][nearest]).astype(int), 0, np.array(enlarged.shape[2:0:-1]) - 1
        )
        assert np.abs(peaks.identity.numpy()[mine][nearest] - enlarged[image, row, column]).max() < 1e-3
        n_found += 1
    assert n_found >= 8


@pytest.mark.parametrize("net", NETS)
def test_affinities(looked: Path, net: str) -> None:
    """DeepLabCut's mean affinity of an animal is, to the digit, the mean of shoal's over some of its limbs.

    Which limbs it took it does not say. It reads some limbs a cell beside the line (``dlc_cells``); where it does, the
    affinity of those cells must fit, elsewhere shoal's own.
    """
    theirs = np.load(looked / net / "maps.npz")["found.bodypart.poses"]
    model = open_snapshot(looked / net / "snapshot-001.pt")
    edges = torch.from_numpy(np.array(model.edges))
    with torch.inference_mode():
        maps = model.net(torch.from_numpy(made_images()))
        peaks = find_peaks(maps, min_confidence=0.01, cap=10_000)
    bias = 0.5 if maps.stride[0] == 1 else 0.0
    n_animals = 0
    for image, animal in np.ndindex(*theirs.shape[:2]):
        poses = theirs[image, animal]
        if not (np.isfinite(poses[:, 0]).all() and (poses[:, 2] > 0).all()):
            continue
        rows = []
        for keypoint, (x, y) in enumerate(poses[:, :2]):
            own = ((peaks.image == image) & (peaks.keypoint == keypoint)).nonzero()[:, 0]
            distance = (peaks.xy[own] - bias - torch.tensor([x, y])).norm(dim=1)
            rows.append(own[distance.argmin()])
        chosen = torch.stack(rows)
        ends = (chosen[edges[:, 0]], chosen[edges[:, 1]])
        limbs = torch.arange(len(edges))
        affinity = _dlc_affinity(maps, peaks, torch.full((len(edges),), image), limbs, *ends).numpy()
        for limb, (source, target) in enumerate(peaks.cell[torch.stack(ends, 1)]):
            way = target - source
            cells = dlc_cells(source, way)
            if not torch.equal(cells, (source * 9 + way * torch.arange(10)[:, None]) // 9):
                affinity[limb] = read_along(maps.limbs[image, 2 * limb : 2 * limb + 2], cells, way)
        some = [list(s) for n in range(1, len(edges) + 1) for s in combinations(range(len(edges)), n)]
        assert min(abs(affinity[s].mean() - poses[0, 4]) for s in some) < 1e-5
        n_animals += 1
    assert n_animals >= 4


def dlc_cells(source: torch.Tensor, way: torch.Tensor) -> torch.Tensor:
    """The ten cells that DeepLabCut reads from ``source`` on, found by its answers: float32, then cut off.

    A step that ends on a whole cell may come out a millionth short of it and is read one cell before.
    """
    return (source.float() + torch.linspace(0, 1, 10)[:, None] * way.float()).long()


def test_deeplabcut_reads_limbs_beside_the_line_where_a_step_ends_on_a_cell() -> None:
    source, way = torch.tensor([154, 8]), torch.tensor([-153, 14])  # a limb that made weights drew in both pictures
    exact = (source * 9 + way * torch.arange(10)[:, None]) // 9
    beside = exact - dlc_cells(source, way)
    assert beside.nonzero().tolist() == [[5, 0]]
    assert beside[5, 0] == 1  # 154 - 5 * 17 = 69, in float32 68.99999


def read_along(field: torch.Tensor, cells: torch.Tensor, way: torch.Tensor) -> float:
    """Affinity of a limb whose field (2, h, w) is read at ``cells`` (10, 2): dlc_formats.md 6.2."""
    values = field[:, cells[:, 1], cells[:, 0]].T
    integral = (cells.diff(dim=0) * (values[1:] + values[:-1]) / 2).sum(0)
    return round(float(integral.norm() / way.float().norm()), 3)


@pytest.mark.parametrize("net", NETS)
def test_the_configuration_describes_the_same_network(looked: Path, net: str) -> None:
    """What shoal writes as section ``model`` has the layers of what DeepLabCut writes."""
    theirs = read_pytorch_config(looked / net / "pytorch_config.yaml")["model"]
    graph = [list(edge) for edge in theirs["heads"]["bodypart"]["predictor"]["graph"]]
    mine = model_section(net, len(INDIVIDUALS), len(KEYPOINTS), len(UNIQUE), graph, identity=True)
    assert mine["backbone_output_channels"] == theirs["backbone_output_channels"]
    assert set(mine["heads"]) == set(theirs["heads"])
    for name, head in mine["heads"].items():
        for key in ("heatmap_config", "locref_config", "paf_config", "num_stages"):
            assert head.get(key) == theirs["heads"][name].get(key)
