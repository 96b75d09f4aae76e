"""Pickles of DLC are data; anything else in them is refused."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pandas as pd
import pytest

from shoal.errors import ProjectError
from shoal.io.dlc.describe import describe_file
from shoal.io.dlc.detections import read_full
from shoal.io.dlc.meta import read_meta
from shoal.io.dlc.pickles import read_pickle
from shoal.io.dlc.tracklets import read_assemblies, read_tracklets


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


@pytest.mark.parametrize(
    "content",
    [Evil(), [1, {"a": Evil()}], np.array([Evil()], dtype=object), print, np.load, pickle.Unpickler, pd.Series([1])],
)
def test_anything_else_is_refused_and_not_run(tmp_path, content):
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ProjectError, match="not plain data"):
        read_pickle(path)


MALICIOUS = {
    "os": b"cos\nsystem\n(Vtouch made\ntR.",
    "posix": b"cposix\nsystem\n(Vtouch made\ntR.",
    "subprocess": b"csubprocess\nrun\n((Vtouch\nVmade\nltR.",
    "eval": b"c__builtin__\neval\n(Vopen('made', 'w')\ntR.",
    "getattr": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nVtofile\ntR.",
    "import": b"cimportlib\nimport_module\n(Vos\ntR.",
    "codecs": b"c_codecs\nencode\n(Vx\nVzlib\ntR.",
    "memmap": b"cnumpy\nmemmap\n(Vmade\nVfloat32\nVw+\ntR.",
    "path opened": b"cpathlib\nPath.touch\n(Vmade\ntR.",
    "touch": b"cpathlib\nos\n.",
    "pandas": b"cpandas\nread_pickle\n(Vmade\ntR.",
    "pandas eval": b"cpandas.core.computation.eval\neval\n(V@__import__\ntR.",
    "index of a class": b"cpandas.core.indexes.base\n_new_Index\n(cbuiltins\nint\n}tR.",
    "changed stand-in": b"cpandas\nIndex\n}Vname\nVMultiIndex\nsb.",
    "enum of an object": b"cdeeplabcut.x\nNetType\n(cdeeplabcut.x\nNetType\ntR.",
    "two values": b"cdeeplabcut.x\nrun\n(Va\nVb\ntR.",
    "instance": b"(Vtouch made\nios\nsystem\n.",
    "persistent": b"Pmade\n.",
    "extension": b"\x80\x02\x82\x01.",
    "newobj": b"\x80\x02cos\nsystem\n(Vtouch made\nt\x81.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0atouch made\x85R.",
    "ruamel": b"cruamel.yaml.main\nYAML\n)R.",
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_malicious_files_are_refused_and_do_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a_full.pickle"
    path.write_bytes(MALICIOUS[name])
    for reader in (read_pickle, read_full, read_meta, read_assemblies, read_tracklets, describe_file):
        with pytest.raises(ProjectError, match=r"a_full\.pickle"):
            reader(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a_full.pickle"]
    assert path.read_bytes() == MALICIOUS[name]


def test_a_malicious_snapshot_is_refused_and_does_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "snapshot-10.pt"
    for content in (MALICIOUS["os"], b"ctorch\nload\n(Vmade\ntR.", b"ctorch.hub\nload\n(Vmade\ntR."):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
        with pytest.raises(ProjectError, match="snapshot-10"):
            describe_file(path)
    assert [p.name for p in tmp_path.iterdir()] == ["snapshot-10.pt"]


def test_paths_and_notations_become_plain_values(tmp_path):
    from ruamel.yaml.scalarfloat import ScalarFloat
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    content = [
        PurePosixPath("/a/b"), PureWindowsPath("C:\\a"), ScalarFloat(0.5, width=3, prec=1),
        DoubleQuotedScalarString("x"),
    ]  # fmt: skip
    (tmp_path / "a.pickle").write_bytes(pickle.dumps(content))
    assert read_pickle(tmp_path / "a.pickle") == ["/a/b", "C:\\a", 0.5, "x"]


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
    assert read_pickle(folder / "trimouse_tracklets.pickle")["header"][0][1:] == ("snout", "x")
    with pytest.raises(ProjectError, match="pandas"):  # a whole data frame's column is not a result of a video
        read_pickle(folder / "trimouse_eval.pickle")
