import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import shoal.deeplabcut as deeplabcut
from shoal.deeplabcut import call
from shoal.deeplabcut.call import finish, on_progress, step
from shoal.errors import ConfigError, InputError, PartialFailure
from shoal.run.batch import for_each

ROOT = Path(__file__).parents[3]


@step
def talk(config, allow_growth=False):
    warnings.warn("of somebody else", UserWarning, stacklevel=1)
    logging.getLogger("shoal.training").info("Number of iterations: 500, loss: 0.00740, lr: 0.0001")
    on_progress("train", 1, 2)
    return config


@step
def nested(config):
    return talk(config)


@step
def fail(config):
    raise InputError("expected a, got b", hint="give a")


def test_the_banner_is_shown_once_and_lines_go_to_stdout(capsys, monkeypatch):
    monkeypatch.setattr(call._Console, "is_greeted", False)
    assert talk("x") == "x" and nested("y") == "y"
    output = capsys.readouterr()
    assert output.out.count("Loading shoal") == 1 and output.out.startswith("Loading shoal")
    assert output.out.count("Number of iterations: 500, loss: 0.00740, lr: 0.0001") == 2
    assert "somebody else" not in output.out + output.err


def test_what_changes_nothing_is_named_in_one_warning(capsys):
    talk("x", allow_growth=True)
    assert capsys.readouterr().err.count("warning: talk: these change nothing in shoal: allow_growth") == 1


def test_hints_are_part_of_the_traceback():
    with pytest.raises(InputError) as caught:
        fail("x")
    assert caught.value.__notes__ == ["hint: give a"]


def test_one_failure_is_named_and_the_rest_counts(capsys):
    def work(path):
        if "bad" in path.name:
            raise InputError("expected a video")
        return path

    @step
    def many(config, names):
        finish(for_each([Path(name) for name in names], work), "done")

    many("x", ["good", "bad"])
    output = capsys.readouterr()
    assert "error: 1 of 2 failed: bad: expected a video" in output.err and "done" in output.out
    with pytest.raises(PartialFailure):
        many("x", ["bad1", "bad2"])


def test_importing_is_quick():
    """No torch, no numpy: a script that only makes a training set should not wait for a network."""
    slow = {"torch", "numpy", "pandas", "matplotlib"}
    code = f"import sys, shoal.deeplabcut; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_piped_lines_are_there_at_once():
    """A .out file of a job must be readable while the job runs."""
    code = (
        "import os, logging\n"
        "from shoal.deeplabcut.call import step\n"
        "@step\n"
        "def f(config):\n"
        "    logging.getLogger('shoal.x').info('first line')\n"
        "    os._exit(0)\n"
        "f('c')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "first line"


def test_functions_that_are_missing_say_what_to_use():
    with pytest.raises(deeplabcut.MissingFunctionError, match="napari"):
        deeplabcut.label_frames  # noqa: B018
    assert not hasattr(deeplabcut, "launch_dlc") and not hasattr(deeplabcut, "nonsense")
    with pytest.raises(InputError, match="re-ID work"):
        deeplabcut.transformer_reID("config.yaml", ["video.mp4"], n_tracks=10, videotype="mp4")
    with pytest.raises(InputError, match="re-ID work"):
        deeplabcut.create_tracking_dataset("config.yaml", ["video.mp4"], "ellipse")


def test_wrong_keywords_never_reach_the_work():
    with pytest.raises(ConfigError, match="vidoetype"):
        deeplabcut.analyze_videos("config.yaml", ["v.mp4"], vidoetype="mp4")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("second SIGINT", 130)])
def test_a_script_that_is_asked_to_stop_ends_with_a_line_and_the_signals_code(name, code):
    """It was a traceback and exit code 1, which a queue takes for a failure."""
    script = (
        "import os, signal, sys\n"
        "from shoal.deeplabcut.call import step\n"
        "from shoal.errors import Stopped\n"
        "from shoal.io.stopping import stop_requests\n"
        "@step\n"
        "def f(name):\n"
        "    with stop_requests('the chunk') as asked:\n"
        "        for word in name.split():\n"
        "            os.kill(os.getpid(), signal.SIGINT if word == 'second' else signal.Signals[word])\n"
        "        raise Stopped('1 of 2 chunks are done', hint='the same call goes on', signal_name=asked())\n"
        "f(sys.argv[1])"
    )
    done = subprocess.run([sys.executable, "-c", script, name], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code and "Traceback" not in done.stderr
    last = ["interrupted by Ctrl-C in f"] if "second" in name else ["hint: the same call goes on"]
    assert done.stderr.splitlines()[-1:] == last


def test_other_errors_of_a_script_are_shown_as_before():
    script = (
        "from shoal.deeplabcut.call import step\n"
        "from shoal.errors import InputError\n"
        "@step\n"
        "def f(name):\n"
        "    raise InputError('expected a', hint='give a')\n"
        "f('x')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("Traceback") and "hint: give a" in done.stderr
