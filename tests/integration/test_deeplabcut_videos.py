"""DeepLabCut's functions from analyze_videos on, with a stand-in for the network: files, names, odd videos."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import shoal.deeplabcut as deeplabcut
from shoal.io.artifacts import file_digest
from shoal.io.dlc.config_file import edit_config, write_config
from shoal.io.dlc.detections import read_full
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.pose_table import read_pose_table
from shoal.io.dlc.results import read_tracks, read_tracks_file
from shoal.io.dlc.tracklets import read_assemblies, read_tracklets
from shoal.io.dlc.training_set import create_training_set, find_shuffle
from shoal.io.video import VideoWriter, probe, read_frames
from shoal.run import dlc_videos
from shoal.run.engine import Engine, cropped
from shoal.run.folder import read_spans
from shoal.types import Appearance, Detections, Poses

SCORER = "DLC_Resnet50_blobsJan1shuffle1_snapshot_5"
FILES = ("_full.pickle", "_meta.pickle", "_assemblies.pickle", "_el.pickle", "_el.h5")


@pytest.fixture(scope="module")
def project(blobs, tmp_path_factory) -> Path:
    """A shuffle with a snapshot that nobody opens."""
    folder = tmp_path_factory.mktemp("dlc") / "project"
    video = blobs.make_video(folder.parent / "clip.mp4", 70)
    images = folder / "labeled-data" / "clip"
    images.mkdir(parents=True)
    (folder / "videos").mkdir()
    frames = list(range(3, 63, 6))  # at 0 an animal's box has no area, so DLC's similarity is not defined
    names = [f"img{frame:02d}.png" for frame in frames]
    for frame, name in zip(frames, names, strict=True):
        picture = next(read_frames(video, start=frame, batch=1)).images[0]
        cv2.imwrite(str(images / name), picture[..., ::-1])
    individuals = ("a", "b", "c")
    write_labels(
        images, scorer="me", skeleton=blobs.SKELETON, individuals=individuals, images=names,
        xy=blobs.positions(70, 3)[frames], unique_xy=np.full((len(frames), 1, 2), 6.0),
    )  # fmt: skip
    write_config(
        folder / "config.yaml", task="blobs", scorer="me", date="Jan1", skeleton=blobs.SKELETON,
        individuals=individuals, videos={video: (160, 96)}, identity=False,
    )  # fmt: skip
    edit_config(folder / "config.yaml", values={"dotsize": 3})
    (shuffle,) = create_training_set(folder)
    (shuffle.train_folder / "snapshot-005.pt").write_bytes(b"not opened")
    return folder


@pytest.fixture
def engine(monkeypatch, blobs):
    """The stand-in network, with a count of how often it was asked for."""
    asked = []

    def load(path, config):
        asked.append(path)
        stand_in = blobs.engine()

        def detect(batch):
            part = cropped(batch, config.predict.crop)
            found, unique, features = stand_in.detect(part)
            return replace(found, xy=found.xy + np.float32(part.origin)), unique, features

        return Engine(replace(stand_in.card, file=file_digest(path)), detect)

    monkeypatch.setattr(dlc_videos, "load_engine", load)
    return asked


@pytest.fixture
def config(project) -> str:
    return str(project / "config.yaml")


def video_of(blobs, folder: Path, n_frames: int = 70, n_animals: int = 3, name: str = "new.mp4") -> Path:
    folder.mkdir(exist_ok=True)
    return blobs.make_video(folder / name, n_frames, n_animals)


def files_of(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if p.is_file()}


def test_the_guides_steps_write_the_guides_files(config, engine, blobs, tmp_path, capsys):
    video = video_of(blobs, tmp_path)
    scorer = deeplabcut.analyze_videos(config, [str(video)], videotype=".mp4")
    assert scorer == SCORER
    assert files_of(tmp_path) == {"new.mp4", *(f"new{SCORER}{suffix}" for suffix in FILES)}
    deeplabcut.create_video_with_all_detections(config, [str(video)], videotype=".mp4")
    deeplabcut.stitch_tracklets(config, [str(video)], videotype=".mp4", shuffle=1, trainingsetindex=0)
    worked = deeplabcut.create_labeled_video(
        config, [str(video)], color_by="individual", keypoints_only=False, trailpoints=10, draw_skeleton=False,
        track_method="ellipse",
    )  # fmt: skip
    deeplabcut.filterpredictions(config, [str(video)], shuffle=1)
    deeplabcut.plot_trajectories(config, [str(video)], displayedindividuals=["a"])
    deeplabcut.analyze_videos_converth5_to_csv(str(tmp_path), videotype="mp4")
    assert worked == [True]
    made = {f"new{SCORER}{s}" for s in ("_full.mp4", "_el_id_p60_labeled.mp4", "_el_filtered.h5", "_el_filtered.csv")}
    assert made | {f"new{SCORER}_el.csv"} <= files_of(tmp_path)
    assert probe(tmp_path / f"new{SCORER}_el_id_p60_labeled.mp4").n_frames == 70
    assert (tmp_path / "plot-poses" / "new" / "trajectorya.png").is_file()
    tracks, names = read_tracks(tmp_path / f"new{SCORER}_el.h5")
    assert names == ("a", "b", "c") and np.bincount(tracks.track).tolist() == [70, 70, 70]
    found = np.stack([tracks.poses.xy[tracks.track == t].mean(axis=1) for t in range(3)], axis=1)
    true = blobs.positions(70, 3).mean(axis=2)
    error = np.linalg.norm(found[:, :, None] - true[:, None], axis=-1).mean(axis=0)
    assert sorted(error.argmin(axis=1)) == [0, 1, 2] and error.min(axis=1).max() < 1.5
    output = capsys.readouterr()
    assert "error" not in output.err and "warning" not in output.err


def test_tables_agree_with_each_other(config, engine, blobs, tmp_path):
    video = video_of(blobs, tmp_path)
    deeplabcut.analyze_videos(config, [str(video)], save_as_csv=True, save_as_df=True)
    base = tmp_path / f"new{SCORER}"
    full, assembled = (
        read_full(Path(f"{base}_full.pickle"), unique=["lamp"]),
        read_assemblies(Path(f"{base}_assemblies.pickle")),
    )
    tracklets = read_tracklets(Path(f"{base}_el.pickle"))
    tracks = read_tracks_file(Path(f"{base}_el.h5"))
    assert len(full.poses) == len(assembled.poses) == len(tracklets.tracklets) == len(tracks.tracks) == 210
    for table in (assembled.poses, tracklets.tracklets.poses):
        assert np.allclose(np.sort(table.xy, axis=0), np.sort(full.poses.xy, axis=0))
    assert len(full.unique) == len(tracks.unique) == 70 - 20, "the lamp is off from frame 50 on"
    assert (read_pose_table(Path(f"{base}_el.csv")).values[0] > 0).any() and Path(f"{base}.h5").is_file()


def test_stitching_can_be_repeated_with_any_number(config, engine, blobs, tmp_path):
    """DLC#1260: no flow, exception; labs loop over n until it works."""
    video = video_of(blobs, tmp_path)
    deeplabcut.analyze_videos(config, [str(video)])
    file = tmp_path / f"new{SCORER}_el.h5"
    for n, names in ((5, ("a", "b", "c", "ind4", "ind5")), (2, ("a", "b")), (1, ("a",)), (3, ("a", "b", "c"))):
        deeplabcut.stitch_tracklets(config, [str(video)], n_tracks=n)
        content = read_tracks_file(file)
        assert content.names == names and 1 <= content.tracks.n_tracks <= n
    deeplabcut.stitch_tracklets(config, [str(video)], animal_names=["x", "y", "z"], output_name="mine.h5")
    assert read_tracks_file(tmp_path / "mine.h5").names == ("x", "y", "z")
    with pytest.raises(deeplabcut.InputError, match="n_tracks"):
        deeplabcut.stitch_tracklets(config, [str(video)], animal_names=["x"], n_tracks=2)
    assert len(engine) == 1, "the network is not needed again"


def test_tracklets_can_be_made_again_by_another_method(config, engine, blobs, tmp_path):
    video = video_of(blobs, tmp_path)
    deeplabcut.analyze_videos(config, [str(video)], auto_track=False)
    assert f"new{SCORER}_el.pickle" not in files_of(tmp_path)
    for method, suffix in (("ellipse", "el"), ("box", "bx"), ("skeleton", "sk")):
        deeplabcut.convert_detections2tracklets(config, [str(video)], track_method=method)
        deeplabcut.stitch_tracklets(config, [str(video)], track_method=method)
        assert {f"new{SCORER}_{suffix}.pickle", f"new{SCORER}_{suffix}.h5"} <= files_of(tmp_path)
        assert read_tracks_file(tmp_path / f"new{SCORER}_{suffix}.h5").tracks.n_tracks == 3
    with pytest.raises(deeplabcut.InputError, match="track_method"):
        deeplabcut.stitch_tracklets(config, [str(video)], track_method="ctd")


def test_an_analyzed_video_is_left_alone_unless_asked(config, engine, blobs, tmp_path, capsys):
    video = video_of(blobs, tmp_path)
    deeplabcut.analyze_videos(config, [str(video)])
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files_of(tmp_path)}
    deeplabcut.analyze_videos(config, [str(video)])
    assert before == {name: (tmp_path / name).stat().st_mtime_ns for name in files_of(tmp_path)}
    assert "analyzed already" in capsys.readouterr().out
    assert len(engine) == 1, "the network is not loaded to learn that it is the same"
    (tmp_path / f"new{SCORER}_el.h5").unlink()
    deeplabcut.analyze_videos(config, [str(video)])
    assert f"new{SCORER}_el.h5" in files_of(tmp_path), "DLC#10.7: what lacks is made"
    deeplabcut.analyze_videos(config, [str(video)], overwrite=True)
    assert (tmp_path / f"new{SCORER}_full.pickle").stat().st_mtime_ns > before[f"new{SCORER}_full.pickle"]


def test_a_video_is_analyzed_again_when_its_network_was_trained_again(config, engine, blobs, tmp_path, capsys):
    """Snapshots of a shuffle trained again have the names of the old ones."""
    video = video_of(blobs, tmp_path)
    deeplabcut.analyze_videos(config, [str(video)])
    snapshot = find_shuffle(Path(config).parent).snapshots[-1].path
    snapshot.write_bytes(snapshot.read_bytes() + b"0")
    deeplabcut.analyze_videos(config, [str(video)])
    assert len(engine) == 2, "another file: its weights are compared"
    assert "analyzed already" in capsys.readouterr().out, "the stand-in's weights are the same"


def test_corrections_by_others_stay_and_are_stitched(config, engine, blobs, tmp_path, capsys):
    """A tracklet file that somebody corrected is taken as it is."""
    video = video_of(blobs, tmp_path)
    deeplabcut.analyze_videos(config, [str(video)])
    base = tmp_path / f"new{SCORER}"
    from shoal.io.dlc.tracklets import write_tracklets
    from shoal.types import select

    content = read_tracklets(Path(f"{base}_el.pickle"))
    kept = select(content.tracklets, content.tracklets.track != 1)
    write_tracklets(
        Path(f"{base}_el.pickle"), kept, keypoints=content.keypoints, scorer=content.scorer, n_frames=70,
        unique=content.unique, unique_names=content.unique_names,
    )  # fmt: skip
    deeplabcut.stitch_tracklets(config, [str(video)])
    assert "taken as it is" in capsys.readouterr().out
    assert len(read_tracks_file(Path(f"{base}_el.h5")).tracks) == 140
    deeplabcut.analyze_videos(config, [str(video)])
    assert len(read_tracklets(Path(f"{base}_el.pickle")).tracklets) == 140, "analyzing again does not undo it"


def test_results_go_to_destfolder(config, engine, blobs, tmp_path):
    video, dest = video_of(blobs, tmp_path / "in"), tmp_path / "out"
    deeplabcut.analyze_videos(config, str(video.parent), destfolder=str(dest))
    deeplabcut.create_labeled_video(config, [str(video)], destfolder=str(dest), filtered=False, overwrite=True)
    assert files_of(video.parent) == {"new.mp4"}
    assert {f"new{SCORER}{suffix}" for suffix in FILES} <= files_of(dest)
    assert f"new{SCORER}_el_bp_p60_labeled.mp4" in files_of(dest) and (dest / "new.shoal").is_dir()


def test_cropping_counts_from_the_crops_corner_in_dlcs_files(config, engine, blobs, tmp_path):
    video = video_of(blobs, tmp_path)
    deeplabcut.analyze_videos(config, [str(video)])
    whole = read_tracks_file(tmp_path / f"new{SCORER}_el.h5").tracks
    cut = tmp_path / "cut"
    deeplabcut.analyze_videos(config, [str(video)], destfolder=str(cut), cropping=[10, 150, 4, 94])
    part = read_tracks_file(cut / f"new{SCORER}_el.h5").tracks
    found = read_assemblies(cut / f"new{SCORER}_assemblies.pickle").poses
    assert len(part) == len(whole) == len(found)
    shift = np.nanmean(whole.poses.xy, axis=(0, 1)) - np.nanmean(part.poses.xy, axis=(0, 1))
    assert np.allclose(shift, (10, 4), atol=0.1)
    assert dlc_videos.read_card(cut / "new.crop10-150-4-94.shoal").name == SCORER
    worked = deeplabcut.create_labeled_video(config, [str(video)], destfolder=str(cut))
    assert worked == [True]
    with pytest.raises(deeplabcut.InputError, match="crop"):
        deeplabcut.analyze_videos(config, [str(video)], destfolder=str(tmp_path / "odd"), cropping=[0, 900, 0, 90])


def frameless(path: Path) -> Path:
    """A video file with a stream and not one frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


def test_dlc_2754_empty_frames_and_videos_are_results_not_errors(config, engine, blobs, tmp_path, capsys):
    """No animal in a frame, none in a whole video, a video of one frame, one without frames, and no video at all."""
    gaps = tmp_path / "gaps.mp4"
    where = blobs.positions(70, 3)
    with VideoWriter(gaps, fps=25, preset="ultrafast", crf=8) as writer:
        for frame in range(70):
            image = np.full((96, 160, 3), 90, np.uint8)
            for head, tail in [] if frame % 7 == 0 else where[frame]:
                cv2.circle(image, (int(head[0]), int(head[1])), 4, (230, 40, 40), -1)
                cv2.circle(image, (int(tail[0]), int(tail[1])), 4, (40, 210, 40), -1)
            writer.write(image)
    nobody = video_of(blobs, tmp_path, 30, 0, "nobody.mp4")
    short = video_of(blobs, tmp_path, 1, 3, "short.mp4")
    empty = frameless(tmp_path / "empty.avi")
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    videos = [str(v) for v in (gaps, nobody, short, empty, broken)]
    assert deeplabcut.analyze_videos(config, videos) == SCORER
    assert "1 of 5 failed" in capsys.readouterr().err
    for video, n_frames, n_rows in ((gaps, 70, 60 * 3), (nobody, 30, 0), (short, 1, 3), (empty, 0, 0)):
        base = f"{video.stem}{SCORER}"
        assert {f"{base}{suffix}" for suffix in FILES} <= files_of(tmp_path)
        assert len(read_full(tmp_path / f"{base}_full.pickle", unique=["lamp"]).poses) == n_rows
        table = read_pose_table(tmp_path / f"{base}_el.h5")
        assert len(table.index) <= n_frames and table.names("individuals") == ("a", "b", "c", "single")
        if not n_rows:
            assert np.isnan(table.values[:, :18]).all()
    for step in (deeplabcut.convert_detections2tracklets, deeplabcut.stitch_tracklets, deeplabcut.filterpredictions):
        step(config, videos[:4])
    deeplabcut.create_video_with_all_detections(config, videos[:3])
    assert deeplabcut.create_labeled_video(config, videos) == [False, False, True, True, True], "sorted by name"
    deeplabcut.plot_trajectories(config, videos[1:2], displayedindividuals=["a"])


def test_dlc_2755_confidence_of_three_columns_is_read(config, engine, blobs, tmp_path):
    """rc1 to rc5 wrote confidence (n, 3); such files are analyzed projects of labs."""
    import pickle

    video = video_of(blobs, tmp_path)
    deeplabcut.analyze_videos(config, [str(video)], auto_track=False)
    file = tmp_path / f"new{SCORER}_full.pickle"
    with file.open("rb") as stream:
        content = pickle.load(stream)
    for key, entry in content.items():
        if key != "metadata":
            entry["confidence"] = [np.repeat(c, 3, axis=1) * [1, 5, 7] for c in entry["confidence"]]
    with file.open("wb") as stream:
        pickle.dump(content, stream)
    deeplabcut.create_video_with_all_detections(config, [str(video)], videotype="mp4")
    made = tmp_path / f"new{SCORER}_full.mp4"
    drawn = next(read_frames(made, start=10, batch=1)).images[0].astype(int)
    plain = next(read_frames(video, start=10, batch=1)).images[0]
    assert probe(made).n_frames == 70 and (np.abs(drawn - plain).max(axis=2) > 80).sum() > 50, "keypoints are drawn"


def test_results_that_deeplabcut_made_are_tracked_as_they_are(config, engine, blobs, tmp_path):
    """Without the run folder shoal cannot tell whose files these are: they are taken as DLC's."""
    import shutil

    video = video_of(blobs, tmp_path)
    deeplabcut.analyze_videos(config, [str(video)])
    shutil.rmtree(tmp_path / "new.shoal")
    for suffix in ("_el.pickle", "_el.h5"):
        (tmp_path / f"new{SCORER}{suffix}").unlink()
    engine.clear()
    deeplabcut.analyze_videos(config, [str(video)])
    assert not engine, "nothing is predicted again"
    assert np.bincount(read_tracks_file(tmp_path / f"new{SCORER}_el.h5").tracks.track).tolist() == [70, 70, 70]


def test_outliers_of_tracks_become_labels(config, engine, blobs, tmp_path, project):
    video = video_of(blobs, tmp_path, name="outlier.mp4")
    deeplabcut.analyze_videos(config, [str(video)])
    before = (project / "config.yaml").read_text()
    deeplabcut.extract_outlier_frames(config, [str(video)], outlieralgorithm="list", frames2use=[3, 9])
    folder = project / "labeled-data" / "outlier"
    assert {p.name for p in folder.iterdir()} == {
        "img03.png", "img09.png", "machinelabels-iter0.h5", "machinelabels.csv",
    }  # fmt: skip
    assert "outlier.mp4" in (project / "config.yaml").read_text()
    (project / "config.yaml").write_text(before)


def test_missing_tracks_say_which_step_makes_them(config, engine, blobs, tmp_path):
    video = video_of(blobs, tmp_path)
    with pytest.raises(deeplabcut.InputError) as caught:
        deeplabcut.plot_trajectories(config, [str(video)])
    assert "analyze_videos" in caught.value.hint
    with pytest.raises(deeplabcut.InputError) as caught:
        deeplabcut.stitch_tracklets(config, [str(video)])
    assert "convert_detections2tracklets" in caught.value.hint
    with pytest.raises(deeplabcut.InputError, match="shuffle 7"):
        deeplabcut.analyze_videos(config, [str(video)], shuffle=7)


def test_dlc_2744_several_gpus_are_named_never_ignored(project):
    """``runner.gpus`` acts: the first is used; what does not happen yet is said."""
    from shoal.config.run import RunConfig
    from shoal.deeplabcut.train import device_name
    from shoal.io.dlc.pytorch_config import read_pytorch_config
    from shoal.io.dlc.pytorch_settings import to_run_config

    content = read_pytorch_config(find_shuffle(project).config_path)
    content["runner"]["gpus"] = [1, 2]
    settings, missing = to_run_config(content, RunConfig())
    assert settings.compute.device == "cuda:1"
    assert [name for name in missing if "gpus" in name] == ["runner.gpus: [1, 2] (trains on the first)"]
    content["runner"]["gpus"] = [1]
    assert not [name for name in to_run_config(content, RunConfig())[1] if "gpus" in name]
    assert device_name(None, 1) == "cuda:1" and device_name("cpu", 1) == "cpu" and device_name(None, None) is None


def all_seeing(blobs, batch):
    """Peaks exactly where the labels are; the picture's grey is the frame's number."""
    frame, number = int(batch.frame[0]), int(batch.images[0, 0, 0, 0])
    xy = blobs.positions(70, 3)[number].reshape(-1, 2)
    near = [(a, b) for a in (0, 2, 4) for b in (1, 3, 5)]
    found = Detections(
        np.full(6, frame), np.arange(6), [0, 1] * 3, xy, np.full(6, 0.9),
        np.full(9, frame), np.zeros(9), [a for a, _ in near], [b for _, b in near],
        [0.95 if b == a + 1 else 0.1 for a, b in near], np.zeros((6, 0)), (frame, frame + 1),
    )  # fmt: skip
    unique = Poses([frame], [0], np.full((1, 1, 2), 6.0), [[1.0]], [1.0], (frame, frame + 1))
    return found, unique, np.zeros((6, 0))


def test_dlc_2751_good_predictions_get_good_figures(config, project, blobs, monkeypatch, capsys):
    """In rc4 a good network could get bad figures: one that finds every animal must get full marks."""
    from types import SimpleNamespace

    from shoal.models import dlc_snapshots
    from shoal.training import evaluate

    model = SimpleNamespace(
        skeleton=blobs.SKELETON, edges=blobs.SKELETON.edges, info=SimpleNamespace(n_named=0), config=blobs.config()
    )
    monkeypatch.setattr(dlc_snapshots, "load_snapshot", lambda path, content, device: model)
    monkeypatch.setattr(evaluate, "read_image", lambda path: np.full((96, 160, 3), int(path.stem[3:]), np.uint8))
    monkeypatch.setattr(evaluate, "detect", lambda model, batch, config, **options: all_seeing(blobs, batch))
    deeplabcut.evaluate_network(config, Shuffles=[1], per_keypoint_evaluation=True)
    (folder,) = (project / "evaluation-results-pytorch" / "iteration-0").glob("*shuffle1")
    with (folder / f"{SCORER}-results.csv").open() as file:
        (row,) = csv.DictReader(file)
    for part in ("train", "test"):
        assert float(row[f"{part} mAP"]) == float(row[f"{part} mAR"]) == 100
        assert float(row[f"{part} rmse"]) == float(row[f"{part} rmse_detections"]) == 0
    assert (folder / f"{SCORER}-keypoint-results.csv").is_file()
    assert "test mAP                         100.00" in capsys.readouterr().out


def test_dlc_2794_appearance_is_joined_by_number_never_by_place(blob_run):
    """Looking features up by coordinates gave animals those of others (NaN is the smallest difference)."""
    poses, stored = (
        read_spans(blob_run, kind, table) for kind, table in (("poses", Poses), ("appearance", Appearance))
    )
    key = {(f, i): row for row, (f, i) in enumerate(zip(poses.frame.tolist(), poses.item.tolist(), strict=True))}
    assert len(stored) > 80
    for frame, item, features in zip(stored.frame.tolist(), stored.item.tolist(), stored.features, strict=True):
        own = poses.xy[key[frame, item]]
        expected = np.outer(own.sum(axis=1), np.arange(1, 9)).astype(np.float16)  # what the stand-in gives each peak
        missing = np.isnan(own[:, 0])
        assert np.isnan(features[missing]).all() and (features[~missing] == expected[~missing]).all()
