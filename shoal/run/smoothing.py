"""Smoothed tracks of a run, span by span, and their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from shoal.errors import InputError
from shoal.io.artifacts import save_table
from shoal.run.folder import plan_spans, read_animals, read_config, read_part, table_path
from shoal.stages.smooth import Smoothed, learn, smooth
from shoal.types import Tracks, select

MARGIN = 300  # frames beside a span that its smoothing looks at: further ones change no digit that counts
LEARN_FRAMES = 20_000  # in the middle of the video, that strengths and shapes are learned from


def smooth_run(run_dir: Path) -> Iterator[Smoothed]:
    """Smoothed animals of each span; also written to ``smooth/`` in the run folder, with standard deviations.

    Raises:
        ArtifactError: not tracked yet.
        InputError: the run looked at every n-th frame only.
    """
    if read_part(run_dir).every > 1:
        raise InputError(
            f"expected a run that looked at every frame, got every {read_part(run_dir).every}th\nwhere: {run_dir}",
            hint="smoothing needs to know how animals move from frame to frame",
        )
    config, all_spans = read_config(run_dir).smooth, plan_spans(run_dir)
    first, last = all_spans[0][0], all_spans[-1][1]
    middle = (first + last) // 2
    some = read_animals(run_dir, start=max(first, middle - LEARN_FRAMES // 2), stop=middle + LEARN_FRAMES // 2)
    known = learn(some, config)
    for start, stop in all_spans:
        wide = read_animals(run_dir, start=max(first, start - MARGIN), stop=stop + MARGIN)
        near = (wide.poses.frame >= start - MARGIN) & (wide.poses.frame < stop + MARGIN)
        found = _within(smooth(select(wide, near), config, learned=known), start, stop)
        save_table(table_path(run_dir, "smooth", (start, stop)), found)
        yield found


def _within(found: Smoothed, start: int, stop: int) -> Smoothed:
    frame = found.tracks.poses.frame
    rows = np.arange(*np.searchsorted(frame, (start, stop)).tolist())
    part = select(found.tracks, rows)
    return Smoothed(Tracks(replace(part.poses, span=(start, stop)), part.track), found.sd[rows], found.is_filled[rows])
