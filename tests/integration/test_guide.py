"""The lab's guide (docs/guides/lab.md) is true: every block of code runs, and what stands under it comes out."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shoal.cli import app
from shoal.io.dlc.config_file import edit_config
from shoal.io.dlc.pytorch_config import read_pytorch_config, update_pytorch_config, write_pytorch_config
from shoal.synthetic.dataset import make_project, make_video
from shoal.synthetic.scenes import SCENES

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "lab.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
TINY = replace(
    SCENES["demo"], name="tank", width=192, height=144, n_fish=2, margins=(8.0, 8.0, 8.0, 8.0), mirrors=(),
    shelter=None, megabit_s=1.0, skin=replace(SCENES["demo"].skin, body_px=(48.0, 56.0)),
)  # fmt: skip
SMALL = {
    "train_settings.epochs": 1, "train_settings.batch_size": 2, "data.train.crop_sampling.width": 64,
    "data.train.crop_sampling.height": 64, "runner.eval_interval": 1,
}  # fmt: skip
"""What the test writes into pytorch_config.yaml, as a user would edit it."""
QUICK = [
    "train.epochs=1", "train.crops_per_image=1", "train.batch_size=2", "train.crop_px=64", "model.neck=16",
    "compute.threads=1",
]  # fmt: skip


def blocks() -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return BLOCK.findall(GUIDE.read_text())


def as_pattern(line: str) -> re.Pattern[str]:
    """A line of expected output: … stands for anything, numbers for any number."""
    parts = re.split(r"(…|-?\d+(?:\.\d+)?)", line.strip())
    return re.compile(
        "".join(r".*?" if p == "…" else r"(-?[\d.]+|nan)" if re.match(r"-?\d", p) else re.escape(p) for p in parts)
    )


def python(code: str, names: dict) -> str:
    """What a block of Python prints."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        exec(compile(code, str(GUIDE), "exec"), names)
    return shown.getvalue()


def command(line: str, monkeypatch) -> str:
    """What a command prints; trainings are made small."""
    words = shlex.split(line)
    if words[1] == "train":
        words += [word for setting in QUICK for word in ("--set", setting)]
    monkeypatch.setattr(sys, "argv", words)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            app.main()
        except SystemExit as stop:
            assert not stop.code, f"{line}\n{shown.getvalue()}"
    return shown.getvalue()


def make_small(folder: Path) -> None:
    """Edit the settings of all shuffles that there are."""
    for path in folder.glob("dlc-models-pytorch/*/*/train/pytorch_config.yaml"):
        content = read_pytorch_config(path)
        update_pytorch_config(content, SMALL)
        write_pytorch_config(path, content)


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Path, list[str]]:
    """The guide, run from top to bottom: the folder, and what did not come out."""
    from shoal.deeplabcut import call

    folder = tmp_path_factory.mktemp("guide")
    config = make_project(folder / "fish", TINY, seed=0, n_frames=4, n_videos=2, reflections=False)
    edit_config(config, values={"dotsize": 2, "numframes2pick": 3})
    make_video(TINY, folder / "videos" / "clip.mp4", seed=99, n_frames=14)
    names: dict = {}
    shown, missing = "", []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("OMP_NUM_THREADS", "1")  # threads that other tests hold up cost more than they bring
        patch.setattr(call._Console, "is_greeted", False)
        for language, text in blocks():
            if language == "python":
                shown = python(text, names)
                make_small(folder / "fish")
            elif language == "console":
                shown = "".join(command(line, patch) for line in text.splitlines())
            elif language == "output":
                missing += [line for line in text.splitlines() if not as_pattern(line).search(shown)]
    return folder, missing


def test_what_the_guide_shows_comes_out(ran):
    assert ran[1] == []


def test_the_guides_files_are_there(ran):
    folder = ran[0]
    video = {
        re.sub(r"^clipDLC_Resnet50_aquarium-tankNov22shuffle1_snapshot_(best-)?\d+", "*", p.name)
        for p in (folder / "videos").iterdir()
    }
    assert {
        "clip.mp4", "clip.shoal", "plot-poses", "*_full.pickle", "*_meta.pickle", "*_assemblies.pickle", "*_el.pickle",
        "*_el.h5", "*_full.mp4", "*_el_id_p60_labeled.mp4", "*_el_filtered.h5", "*_el_filtered.csv",
    } <= video  # fmt: skip
    project = folder / "fish"
    (results,) = (project / "evaluation-results-pytorch" / "iteration-0").glob("*shuffle1")
    assert list(results.glob("LabeledImages_*/Test-*.png")) and list(results.glob("*-results.csv"))
    (train,) = project.glob("dlc-models-pytorch/iteration-0/*shuffle1/train")
    assert {"pytorch_config.yaml", "train.txt", "learning_stats.csv"} <= {p.name for p in train.iterdir()}
    assert list((project / "labeled-data").glob("*_labeled/*.png"))


def test_every_block_is_run_or_said_to_be_text():
    assert {language for language, _ in blocks()} == {"python", "console", "output", "text"}
    assert sum(language in ("python", "console") for language, _ in blocks()) >= 20
