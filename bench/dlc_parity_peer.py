"""Runs in DeepLabCut's Python: one snapshot on images, and DeepLabCut's own figures of it.

CONFIG SHUFFLE DEST IMAGE... writes DEST/found.npz, poses (images, animals, keypoints, 3); without images
DEST/results.csv, what evaluate_network says.
"""

import os
import shutil
import sys
from pathlib import Path

os.environ["DLClight"] = "True"  # noqa: SIM112
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import deeplabcut
import numpy as np
import pandas as pd
import torch

torch.set_num_threads(1)
config, shuffle, dest, images = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
if images:
    deeplabcut.analyze_images(config, images, shuffle=shuffle, destfolder=str(dest), device="cpu")
    (file,) = dest.glob("image_predictions_*.h5")
    table = pd.read_hdf(file)
    names = ["/".join(map(str, row)) if isinstance(row, tuple) else str(row) for row in table.index]
    n, k = (len(table.columns.unique(level)) for level in ("individuals", "bodyparts"))
    np.savez(dest / "found.npz", names=names, poses=table.to_numpy().reshape(len(table), n, k, 3))
else:
    deeplabcut.evaluate_network(config, shuffles=[shuffle], plotting=False, device="cpu")
    pattern = f"evaluation-results-pytorch/*/*shuffle{shuffle}/*-results.csv"
    (file,) = [f for f in Path(config).parent.glob(pattern) if "keypoint" not in f.name]
    shutil.copy(file, dest / "results.csv")
