from __future__ import annotations

import json

from shoal.cli.options import with_options
from shoal.cli.session import report


def test_json_is_strict(capsys):
    report({"rmse": float("nan"), "files": ["a"]}, as_json=True)
    assert json.loads(capsys.readouterr().out, parse_constant=lambda _: 1 / 0) == {"rmse": None, "files": ["a"]}


def test_many_files_of_a_folder_are_counted(capsys):
    report({"files": [f"x/{i}.png" for i in range(9)] + ["y/a.h5"]}, as_json=False, next_command=["shoal", "my file"])
    assert capsys.readouterr().out == "wrote 9 files into x\nwrote y/a.h5\n\nnext: shoal 'my file'\n"


def test_animals_is_a_setting_that_set_overrides():
    assert with_options(None, None) == []
    assert with_options(["stitch.count=at-most"], 4) == [
        "stitch.n_animals=4", "stitch.count=exact", "stitch.count=at-most",
    ]  # fmt: skip
