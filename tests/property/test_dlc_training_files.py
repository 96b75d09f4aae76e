"""Training and evaluation files of DLC: what is written is read back equal, damaged ones are clear errors."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoal.errors import InputError
from shoal.io.dlc.evaluation import (
    Results,
    merge_results,
    read_predictions,
    read_results,
    write_predictions,
    write_results,
)
from shoal.io.dlc.learning_stats import read_learning_stats, write_learning_stats
from shoal.io.dlc.pytorch_config import read_pytorch_config, update_pytorch_config, write_pytorch_config

numbers = st.floats(-1e6, 1e6, allow_nan=False)
words = st.text("abcdefgh_", min_size=1, max_size=8)
keys = st.tuples(
    st.sampled_from([0.5, 0.8, 0.95]), st.integers(0, 9), st.integers(0, 999), st.just(-1), st.floats(0, 1)
)


@given(st.dictionaries(st.integers(0, 999), st.dictionaries(words, numbers, max_size=4), max_size=6))
@settings(max_examples=25, deadline=None)
def test_learning_stats(rows):
    with tempfile.TemporaryDirectory() as folder:
        write_learning_stats(Path(folder) / "learning_stats.csv", rows)
        assert read_learning_stats(Path(folder) / "learning_stats.csv") == rows


@given(
    st.dictionaries(keys, st.fixed_dictionaries({"train rmse": numbers, "test mAP": numbers}), min_size=1, max_size=4)
)
@settings(max_examples=25, deadline=None)
def test_results(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "CombinedEvaluation-results.csv"
        merge_results(path, Results(dict(list(rows.items())[:1])))
        merge_results(path, Results(rows))
        read = read_results(path).rows
        assert read == {key: {n: round(v, 2) for n, v in row.items()} for key, row in rows.items()}
        before = path.read_bytes()
        write_results(path, Results(read))
        assert path.read_bytes() == before


@given(hnp.arrays(np.float32, (3, 2, 2, 3), elements=st.floats(-50, 3000, width=32) | st.just(np.nan)))
@settings(max_examples=10, deadline=None)
def test_predictions(poses):
    images = (("a", "img1.png"), ("a", "img2.png"), ("b c", "img1.png"))
    names = {"individuals": ("ann", "bob"), "keypoints": ("nose", "tail")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scorer.h5"
        write_predictions(path, scorer="DLC x", images=images, poses=poses, unique=("lamp",),
                          unique_poses=np.ones((3, 1, 3)), **names)  # fmt: skip
        read = read_predictions(path)
    assert read[:3] == (images, names["individuals"], names["keypoints"])
    assert np.array_equal(read[3], poses, equal_nan=True)


plain = st.none() | st.booleans() | st.integers(-999, 999) | numbers | words
nested = st.recursive(plain, lambda v: st.lists(v, max_size=3) | st.dictionaries(words, v, max_size=3), max_leaves=6)


@given(st.dictionaries(words, nested, max_size=4), plain)
@settings(max_examples=25, deadline=None)
def test_pytorch_config(content, value):
    content = {**content, "model": {"heads": {}}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pytorch_config.yaml"
        write_pytorch_config(path, content)
        read = read_pytorch_config(path)
        assert read == content
        update_pytorch_config(read, {"model.backbone.x": value})
        write_pytorch_config(path, read)
        assert read_pytorch_config(path)["model"]["backbone"] == {"x": value}


@given(st.binary(max_size=60) | st.sampled_from([b"step\n1,2", b"step,a\nx,1", b"a,b\n1,2", b"\xff\xfe", b"model: ["]))
@settings(max_examples=40, deadline=None)
def test_damaged_files_are_clear_errors_and_stay_as_they_are(content):
    with tempfile.TemporaryDirectory() as folder:
        for name, read in (
            ("learning_stats.csv", read_learning_stats), ("x-results.csv", read_results),
            ("pytorch_config.yaml", read_pytorch_config), ("scorer.h5", read_predictions),
        ):  # fmt: skip
            path = Path(folder) / name
            path.write_bytes(content)
            try:
                read(path)
            except InputError as error:
                assert name in error.message
            assert path.read_bytes() == content


def test_a_damaged_combined_table_is_not_replaced(tmp_path):
    path = tmp_path / "CombinedEvaluation-results.csv"
    path.write_text("not,a,table\n1,2,3\n")
    with pytest.raises(InputError, match="CombinedEvaluation"):
        merge_results(path, Results({(0.8, 1, 1, -1, 0.6): {"train rmse": 1.0}}))
    assert path.read_text() == "not,a,table\n1,2,3\n"
