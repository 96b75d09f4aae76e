import pytest

from shoal.config.run import RunConfig, load_config, save_config
from shoal.errors import ConfigError


def test_defaults_then_file_then_overrides(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("stitch: {max_gap: 10, min_length: 5}\n")
    config = load_config(file, ["stitch.max_gap=30"])
    assert (config.stitch.max_gap, config.stitch.min_length) == (30, 5)
    assert config.stitch.count == RunConfig().stitch.count


def test_what_is_saved_is_read_back(tmp_path):
    config = load_config(overrides=["train.augment.flip=0.25", "dataset.exclude=[a, b]"])
    save_config(config, tmp_path / "run.yaml")
    assert load_config(tmp_path / "run.yaml") == config


def test_a_misspelt_key_names_the_nearest_one():
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=["stitch.max_gaps=30"])
    assert "'stitch.max_gaps'" in caught.value.message and "stitch.max_gap" in caught.value.hint


@pytest.mark.parametrize("override", ["stitch.max_gap", "stitch.max_gap=many", "stitch=3", "stitch.max_gap.x=1"])
def test_a_wrong_override_is_one_clear_error(override):
    with pytest.raises(ConfigError):
        load_config(overrides=[override])


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "\x00"])
def test_a_broken_file_is_one_clear_error(tmp_path, text):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="where"):
        load_config(file)


def test_settings_are_frozen():
    with pytest.raises(Exception, match="frozen"):
        RunConfig().stitch.max_gap = 3


def test_files_from_before_a_setting_was_retired_can_be_read(tmp_path):
    """Models and run folders hold all settings of their day: none could be read after one was taken away."""
    path = tmp_path / "run.yaml"
    save_config(load_config(overrides=["reid.every=3"]), path)
    path.write_text(path.read_text().replace("reid:\n", "reid:\n  steps: 200\n  size: 64\n"))
    assert load_config(path).reid.every == 3
    with pytest.raises(ConfigError, match=r"reid\.steps"):
        load_config(overrides=["reid.steps=200"])
