"""Corrections of a run from the command line, to tracks, exports and pictures."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from shoal.cli import app
from shoal.config.run import load_config
from shoal.errors import ArtifactError
from shoal.io.artifacts import read_entry
from shoal.io.dlc.results import read_tracks as read_file
from shoal.run.anchors import make_edit, show_frame
from shoal.run.edits import add_edit, apply_edits, edit_report, read_edits, read_names, undo_edit
from shoal.run.folder import read_animals, read_config, read_tracks
from shoal.run.status import status
from shoal.run.steps import analyze, change_config, export, track
from shoal.types import Edit


@pytest.fixture
def run(blob_run, tmp_path) -> Path:
    """A copy of the run of three animals, whose tracks are right."""
    return shutil.copytree(blob_run, tmp_path / blob_run.name)


def shoal(monkeypatch, capsys, *args: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["shoal", *map(str, args)])
    try:
        app.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


def stamps(run: Path) -> dict[str, int]:
    return {str(p.relative_to(run)): p.stat().st_mtime_ns for p in run.rglob("*.npz")}


def test_an_animal_that_is_moved_is_exchanged_from_that_frame_on_and_nothing_else_is_done_again(
    run, monkeypatch, capsys
):
    before, files = read_tracks(run), stamps(run)
    a, b, _ = read_names(run)
    code, out, _ = shoal(monkeypatch, capsys, "edit", run, "move", f"120:{a}", b)
    assert code == 0 and "edit 1: move" in out and f"wrote {run / 'edits.jsonl'}" in out
    assert f"next: shoal track {run}" in out
    assert status([run])[0]["state"] == "analyzed"  # tracks are not those of the edits
    code, out, _ = shoal(monkeypatch, capsys, "track", run)
    assert code == 0 and "1 edits kept, joined in" in out
    assert "identity swaps per hour expected (90 %: " in out
    assert status([run])[0]["swaps"][0] < 1, "these three animals are far apart"
    after = read_tracks(run)
    early = before.poses.frame < 120
    exchanged = np.select([before.track == 0, before.track == 1], [1, 0], before.track)
    np.testing.assert_array_equal(after.track, np.where(early, before.track, exchanged))
    changed = {name.split("/")[0] for name, time in stamps(run).items() if files.get(name) != time}
    assert changed == {"tracks", "track_info.npz", "decisions.npz"}
    assert status([run])[0]["state"] == "tracked"


def test_an_edit_that_is_undone_is_as_if_it_had_never_been(run, monkeypatch, capsys):
    before = read_tracks(run).track.copy()
    entry = read_entry(run, "stitch")
    assert shoal(monkeypatch, capsys, "edit", run, "remove", "10:item0")[0] == 0
    track(run)
    assert (read_tracks(run).track != before).sum() == 1
    code, out, _ = shoal(monkeypatch, capsys, "edit", run, "undo")
    assert code == 0 and "edit 1 is undone" in out
    track(run)
    np.testing.assert_array_equal(read_tracks(run).track, before)
    assert read_entry(run, "stitch")["fingerprint"] == entry["fingerprint"]
    code, _, err = shoal(monkeypatch, capsys, "edit", run, "undo")
    assert code == 2 and "expected an edit that stands (none)" in err


def test_names_and_removed_rows_survive_export_and_pictures(run, monkeypatch, capsys):
    a, b, c = read_names(run)
    for words in (("name", f"200:{b}", "Otto"), ("name", f"30:{a}", c), ("remove", f"50:{b}", "--whole")):
        assert shoal(monkeypatch, capsys, "edit", run, *words)[0] == 0
    track(run)
    whole, gone = read_tracks(run, kind="tracklets"), read_tracks(run).track < 0
    mine = np.unique(whole.track[gone])
    assert len(mine) == 1 and np.array_equal(gone, whole.track == mine[0])
    # Otto's own tracklet was removed, which came later: the name cannot be kept
    assert edit_report(run)["left_out"] == [[1, "it contradicts a later edit (3)"]]
    undo_edit(run, 3)
    track(run)
    assert read_names(run) == (c, "Otto", a)  # the name that was taken is exchanged
    found, names = read_file(next(f for f in export(run) if f.name.endswith("_el.h5")))
    assert names[:3] == (c, "Otto", a)
    shown = read_animals(run)
    assert np.array_equal(np.bincount(found.track), np.bincount(shown.track))
    code, out, _ = shoal(monkeypatch, capsys, "render", run, "--stop", "40", "--plots")
    assert code == 0 and "timeline.png" in out


def test_edits_outlive_another_analysis_and_rows_that_are_gone_are_named(run, blobs, blob_video, tmp_path):
    a, b, _ = read_names(run)
    add_edit(run, make_edit(run, "move", [f"120:{a}", b]))
    track(run)
    tracks = read_tracks(run).track.copy()
    add_edit(run, Edit("same", ((5, 0), (7, 99))))
    add_edit(run, Edit("name", ((5, 0),), "far", xy=((5.0, 5.0),)))
    config = blobs.config("predict.chunk_frames=64")
    again = analyze(blob_video, blobs.engine(), config=config, dest=run.parent, overwrite=True)
    assert again == run
    np.testing.assert_array_equal(read_tracks(run).track, tracks)
    left_out = dict(edit_report(run)["left_out"])
    assert edit_report(run)["edits"] == 1
    assert left_out[2] == "item 99 of frame 7 is not there any more"
    assert left_out[3] == "item 0 of frame 5 is another animal now"


def test_the_same_edits_give_the_same_animals_under_other_settings(run):
    a, b, c = read_names(run)
    for kind, words in (("move", [f"120:{a}", b]), ("name", [f"250:{c}", "Otto"]), ("different", [f"9:{a}", f"9:{c}"])):
        add_edit(run, make_edit(run, kind, words))
    answers = []
    other = ["associate.max_age=0", "associate.min_margin=0.3"]
    for settings in ([], other, ["stitch.n_animals=3", "stitch.count=exact"]):
        track(run, change_config(run, None, settings))
        answers.append((read_tracks(run).track.tolist(), read_names(run)))
        assert edit_report(run)["left_out"] == []
    assert answers[0] == answers[1] == answers[2] and "Otto" in answers[0][1]


def test_a_broken_line_is_one_error_that_names_it(run, monkeypatch, capsys):
    add_edit(run, Edit("name", ((5, 0),), "Otto"))
    with (run / "edits.jsonl").open("a") as file:
        file.write('{"kind": "same", "rows": [[1, 0]')
    code, _, err = shoal(monkeypatch, capsys, "track", run)
    assert code == 3 and "edits.jsonl, line 2" in err and "hint: mend that line" in err
    with pytest.raises(ArtifactError, match="line 2"):
        add_edit(run, Edit("name", ((5, 0),), "Otto"))
    assert "line 2" in status([run])[0]["why"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ({"kind": "merge", "rows": [[1, 0]]}, "expected an edit of kind same"),
        ({"kind": "same", "rows": [[1, 0]]}, "expected 2 animals for same, got 1"),
        ({"kind": "same", "rows": [[1, 0], [1, 0]]}, "got one twice"),
        ({"kind": "name", "rows": [[1, 0]], "value": " "}, "expected a name"),
        ({"kind": "name", "rows": [[-1, 0]], "value": "a"}, "from 0 on"),
        ({"kind": "undo", "value": "7"}, "there is no edit 7"),
        ({"rows": [[1, 0]]}, "KeyError"),
        (["same"], "TypeError"),
    ],
)
def test_lines_that_mean_nothing_are_refused(tmp_path, line, what):
    (tmp_path / "edits.jsonl").write_text("\n" + json.dumps(line) + "\n")
    with pytest.raises(ArtifactError) as error:
        read_edits(tmp_path)
    assert what in error.value.message and "line 2" in error.value.message


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("same", "10:nobody", "20:item0"), "item0, item1, ..."),
        (("same", "10:item0"), "same FRAME:ANIMAL FRAME:ANIMAL"),
        (("same", "10:item7", "20:item0"), "expected an animal of frame 10"),
        (("same", "999:item0", "20:item0"), "expected a frame of 0-299"),
        (("same", "ten:item0", "20:item0"), "expected FRAME:ANIMAL"),
        (("name", "10:item0", "single"), "not 'single'"),
        (("same", "10:item0", "10:item0"), "one twice"),
        (("shout", "10:item0"), "list, show or undo"),
        (("undo", "x"), "expected a number"),
        (("show",), "show FRAME"),
        (("name", "10:item0", "Otto", "--whole"), "name FRAME:ANIMAL NAME"),
    ],
)
def test_words_that_mean_nothing_say_what_is_meant(run, monkeypatch, capsys, words, what):
    code, _, err = shoal(monkeypatch, capsys, "edit", run, *words)
    assert code == 2 and what in err
    assert not (run / "edits.jsonl").exists()


def test_edits_are_listed_with_what_became_of_them(run, monkeypatch, capsys):
    assert "no edits" in shoal(monkeypatch, capsys, "edit", run)[1]
    a, b, _ = read_names(run)
    for words in (("same", f"5:{a}", f"9:{a}"), ("different", f"5:{a}", f"9:{a}"), ("remove", f"70:{b}")):
        shoal(monkeypatch, capsys, "edit", run, *words, "--author", "ann")
    track(run)
    undo_edit(run, 3)
    rows = json.loads(shoal(monkeypatch, capsys, "edit", run, "list", "--json")[1])["edits"]
    assert [(r["edit"], r["is_undone"], r["left_out"], r["author"]) for r in rows] == [
        (1, False, "it contradicts a later edit (2)", "ann"), (2, False, "", "ann"), (3, True, "", "ann"),
    ]  # fmt: skip
    shown = show_frame(run, 5)
    assert {row["name"] for row in shown} == set(read_names(run))


def test_edits_of_runs_without_an_animal_are_left_out(blobs, tmp_path):
    video = blobs.make_video(tmp_path / "none.mp4", 60, n_animals=0)
    run = analyze(video, blobs.engine(), config=blobs.config(), dest=tmp_path)
    add_edit(run, Edit("same", ((3, 0), (9, 1))))
    track(run)
    assert edit_report(run)["left_out"] == [[1, "item 0 of frame 3 is not there any more"]]
    assert len(read_animals(run)) == 0 and apply_edits(run).links is None
    assert read_config(run) == load_config(run / "run.yaml")
