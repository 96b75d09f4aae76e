"""DeepLabCut and shoal look at the same frames with the same network: same keypoints, same animals?

    python -m bench.dlc_parity train resnet_50        # the network, by shoal, on rendered fish; goes on where it stopped
    python -m bench.dlc_parity train hrnet_w18
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

from shoal.config.run import RunConfig, load_config

from shoal.synthetic.dataset import make_project
from shoal.synthetic.scenes import SCENES, Scene

SCENE = replace(
    SCENES["zebra"],
    name="parity",
    width=320,
    height=256,
    n_fish=3,
    margins=(8.0, 8.0, 8.0, 8.0),
    megabit_s=1.5,
    look=replace(SCENES["zebra"].look, uneven=0.03),
)
"""Small enough that two networks learn it from nothing on two cores; sides are multiples of 32, so HRNet pads nothing."""
N_LABELLED, N_VIDEOS = 240, 2
RECIPES = {
    "resnet_50": ["train.crop_px=128", "train.epochs=50", "train.heat_sigma_px=8"],
    "hrnet_w18": ["train.crop_px=128", "train.epochs=50", "train.heat_sigma_px=6"],
}
SHARED = ["dataset.train_fraction=0.75", "train.crops_per_image=2", "train.eval_every=10", "compute.threads=1"]


def settings(net: str) -> RunConfig:
    return load_config(overrides=[f"model.name={net}", *SHARED, *RECIPES[net]])


def project_folder() -> Path:
    """The rendered project, outside of the clone, by what it depends on; made if it is not there."""
    made = json.dumps([repr(SCENE), N_LABELLED, N_VIDEOS])
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    project = cache / "shoal" / "trained" / hashlib.sha256(made.encode()).hexdigest()[:12]
    if not (project / "config.yaml").is_file():
        make_project(project, SCENE, seed=0, n_frames=N_LABELLED, n_videos=N_VIDEOS, reflections=False)
    return project


def trained(net: str) -> Path:
    """The trained network's folder; goes on where an earlier call was stopped."""
    from shoal.run.models import train

    key = hashlib.sha256(json.dumps([RECIPES[net], SHARED]).encode()).hexdigest()[:8]
    found = train(project_folder(), name=f"{net}-{key}", config=settings(net))
    print(found)
    return Path(found["model"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("step", choices=["train"])
    parser.add_argument("net", choices=list(RECIPES))
    args = parser.parse_args()
    print(trained(args.net))


if __name__ == "__main__":
    main()
