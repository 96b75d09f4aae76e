"""Pickles of DLC are data; anything else in them is refused."""

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from shoal.errors import ProjectError
from shoal.io.dlc.pickles import read_pickle


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_plain_containers_are_read(tmp_path, protocol):
    content = [
        {"image": ("labeled-data", "v", "a.png"), "size": np.array([3, 4, 5])},
        OrderedDict(a=np.float64(0.5), b=np.arange(6.0).reshape(2, 3)[:, ::2]),
        {1, 2}, b"\x00\xff", np.array(["a", "b"]), None, 0.95,
    ]  # fmt: skip
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickle(path)
    assert found[0]["size"].tolist() == [3, 4, 5]
    assert found[1]["b"].tolist() == [[0, 2], [3, 5]]
    assert found[2:4] == [{1, 2}, b"\x00\xff"]
    assert found[6] == 0.95


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


class Path2:
    def __reduce__(self):
        return (Path, ("/",))


@pytest.mark.parametrize(
    "content", [Evil(), Path2(), [1, {"a": Evil()}], np.array([Evil()], dtype=object), print, np.load]
)
def test_anything_else_is_refused_and_not_run(tmp_path, content):
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ProjectError, match="not plain data"):
        read_pickle(path)


@pytest.mark.parametrize("content", [b"", b"rubbish", pickle.dumps(list(range(99)))[:50]])
def test_damage_is_an_error_with_its_place(tmp_path, content):
    path = tmp_path / "a.pickle"
    path.write_bytes(content)
    with pytest.raises(ProjectError, match=r"a\.pickle"):
        read_pickle(path)


@pytest.mark.data
def test_real_pickles_of_dlc(shoal_data: Path):
    folder = shoal_data / "dlc_trimouse_algo"
    full = read_pickle(folder / "trimouse_full.pickle")
    assert len([key for key in full if key.startswith("frame")]) == 50
    assert read_pickle(folder / "trimouse_train_data.pickle")
    with pytest.raises(ProjectError, match="pandas"):
        read_pickle(folder / "trimouse_tracklets.pickle")
