"""Runs in DeepLabCut's Python: its networks with made weights, and with snapshots that shoal wrote.

    python dlc_maps.py PROJECT/config.yaml FOLDER NET...

FOLDER/NET gets DeepLabCut's ``pytorch_config.yaml``, ``snapshot-001.pt`` and ``maps.npz`` (outputs and predictions);
where ``shoal.pt`` lies there already, ``maps_of_shoal.npz`` holds what DeepLabCut makes of it.
"""

import os
import shutil
import sys
from pathlib import Path

os.environ["DLClight"] = "True"  # noqa: SIM112
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import deeplabcut
import numpy as np
import torch
from deeplabcut.core.config import read_config_as_dict
from deeplabcut.pose_estimation_pytorch.models import PoseModel
from made_weights import made_images, made_weight, normalised


def flat(found, prefix=""):
    """Nested dicts of tensors as one dict of arrays."""
    if isinstance(found, dict):
        return {k: v for name, value in found.items() for k, v in flat(value, f"{prefix}{name}.").items()}
    return {prefix[:-1]: found.detach().cpu().numpy()} if torch.is_tensor(found) else {}


@torch.no_grad()
def look(model, path):
    model.eval()
    outputs = model(torch.from_numpy(normalised(made_images())))
    maps = flat(outputs, "maps.")
    maps |= flat(model.get_predictions(outputs), "found.")
    np.savez(path, **maps)


def main(config, folder, nets):
    torch.set_num_threads(1)
    for shuffle, net in enumerate(nets, 1):
        deeplabcut.create_multianimaltraining_dataset(config, Shuffles=[shuffle], net_type=net, userfeedback=False)
        made = next(Path(config).parent.glob(f"dlc-models-pytorch/*/*shuffle{shuffle}/train/pytorch_config.yaml"))
        dest = folder / net
        dest.mkdir(parents=True, exist_ok=True)
        shutil.copy(made, dest / "pytorch_config.yaml")
        model = PoseModel.build(read_config_as_dict(made)["model"], pretrained_backbone=False)
        state = {n: torch.from_numpy(made_weight(n, tuple(v.shape))) for n, v in model.state_dict().items()}
        model.load_state_dict(state)
        torch.save(
            {"model": model.state_dict(), "metadata": {"epoch": 1, "metrics": {}, "losses": {}}},
            dest / "snapshot-001.pt",
        )
        look(model, dest / "maps.npz")
        if (dest / "shoal.pt").is_file():
            model.load_state_dict(torch.load(dest / "shoal.pt", weights_only=True)["model"])
            look(model, dest / "maps_of_shoal.npz")
        print("done", net, flush=True)


main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
