"""A small DLC project on disk that each test damages in its own way."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.project import write_config
from shoal.types import Skeleton

SKELETON = Skeleton(("nose", "leftear", "rightear"), edges=[[0, 1], [0, 2]])
INDIVIDUALS = ("ann", "bob")


def png(width=64, height=48):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width + 1) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def label_folder(root: Path, name: str, *, n=3, skeleton=SKELETON, individuals=INDIVIDUALS, scorer="me", **more):
    """labeled-data/<name> with n images; positions encode folder, image, individual, keypoint."""
    folder = root / "labeled-data" / name
    folder.mkdir(parents=True)
    images = [f"img{i:03d}.png" for i in range(n)]
    for image in images:
        (folder / image).write_bytes(png())
    xy = np.arange(n * len(individuals) * skeleton.n_keypoints * 2, dtype=float).reshape(n, len(individuals), -1, 2)
    write_labels(folder, scorer=scorer, skeleton=skeleton, individuals=individuals, images=images, xy=xy, **more)
    return folder


@pytest.fixture(scope="session")
def _pristine(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pristine")
    for name in ("a", "b"):
        label_folder(root, name)
    videos = {Path(f"/data/videos/{name}.mp4"): (64, 48) for name in ("b", "a")}
    write_config(
        root / "config.yaml", task="proj", scorer="me", date="Nov22", skeleton=SKELETON,
        individuals=INDIVIDUALS, videos=videos, identity=False,
    )  # fmt: skip
    return root


@pytest.fixture
def project(_pristine, tmp_path) -> Path:
    """Two labelled videos, b before a in config.yaml, six images, no fault."""
    root = tmp_path / "proj"
    shutil.copytree(_pristine, root)
    path = root / "config.yaml"
    path.write_text(path.read_text().replace(str(_pristine), str(root)))
    return root


@pytest.fixture
def edit(project):
    """Replace text in config.yaml; fails if it is not there."""

    def change(old, new):
        path = project / "config.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


@pytest.fixture
def add_folder(project):
    """Label one more folder of the project."""

    def add(name, **options):
        return label_folder(project, name, **options)

    return add


@pytest.fixture
def make_png():
    """Bytes of a PNG of a given size."""
    return png
