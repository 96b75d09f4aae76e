"""Split of labelled frames."""

import numpy as np
import pytest

from shoal.config.dataset import DatasetConfig
from shoal.errors import ConfigError
from shoal.stages.split import split_labels

FOLDER = np.repeat([0, 1, 2, 3, 4], [10, 20, 5, 40, 25])
FRAME = np.concatenate([np.random.default_rng(n).permutation(1000)[:n] for n in (10, 20, 5, 40, 25)])


@pytest.mark.parametrize("split", ["random", "time", "video"])
def test_every_label_is_in_exactly_one_part(split):
    train, test = split_labels(FOLDER, FRAME, DatasetConfig(split=split, seed=3))
    assert sorted([*train, *test]) == list(range(100))
    assert list(train) == sorted(train)
    assert len(test)


@pytest.mark.parametrize("split", ["random", "time", "video"])
def test_the_seed_decides(split):
    held = [tuple(split_labels(FOLDER, FRAME, DatasetConfig(split=split, seed=s))[1]) for s in (1, 1, 2, 3, 4)]
    assert held[0] == held[1]
    assert len(set(held)) > 1


def test_random_rounds_as_dlc_does():
    train, test = split_labels(FOLDER[:99], FRAME[:99], DatasetConfig(train_fraction=0.95))
    assert (len(train), len(test)) == (94, 5)


def test_time_holds_out_one_run_per_folder_and_the_right_total():
    _, test = split_labels(FOLDER, FRAME, DatasetConfig(split="time"))
    assert len(test) == 20
    for folder in range(5):
        frames = np.sort(FRAME[folder == FOLDER])
        held = np.sort(FRAME[test[FOLDER[test] == folder]])
        assert len(held) == round(0.2 * len(frames))
        start = np.searchsorted(frames, held[0])
        assert np.array_equal(frames[start : start + len(held)], held)


def test_video_never_divides_a_folder():
    train, test = split_labels(FOLDER, FRAME, DatasetConfig(split="video"))
    assert not set(FOLDER[train]) & set(FOLDER[test])
    assert set(FOLDER[train])
    assert 5 <= len(test) <= 40


def test_video_with_one_folder_says_what_to_do():
    with pytest.raises(ConfigError, match="two folders") as raised:
        split_labels(np.zeros(5), np.arange(5), DatasetConfig(split="video"))
    assert "time" in raised.value.hint


def test_all_on_training_leaves_nothing_to_test():
    train, test = split_labels(FOLDER, FRAME, DatasetConfig(train_fraction=1))
    assert (len(train), len(test)) == (100, 0)


def test_one_label_is_trained_on():
    train, test = split_labels(np.zeros(1), np.zeros(1), DatasetConfig())
    assert (len(train), len(test)) == (1, 0)


def test_no_label_is_an_error():
    with pytest.raises(ConfigError, match="got none"):
        split_labels(np.zeros(0), np.zeros(0), DatasetConfig())


def test_folder_names_serve_as_well_as_numbers():
    names = np.array(["a", "b", "c", "d", "e"])[FOLDER]
    config = DatasetConfig(split="video")
    assert np.array_equal(split_labels(names, FRAME, config)[1], split_labels(FOLDER, FRAME, config)[1])
