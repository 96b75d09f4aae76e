import numpy as np

from shoal.synthetic.motion import swim
from shoal.synthetic.scenes import SCENES
from shoal.synthetic.tank import make_tank


def columns(scene, *, chunk=256, seed=1, n_frames=300):
    tank = make_tank(scene, seed)
    lengths = np.full(scene.n_fish, scene.body_px)
    parts = list(swim(scene, tank, lengths, seed=seed, day=0, n_frames=n_frames, chunk=chunk))
    return {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("xy", "heading", "height", "speed")}


def test_chunk_size_does_not_change_the_motion():
    whole, cut = columns(SCENES["lab"]), columns(SCENES["lab"], chunk=37)
    for name, value in whole.items():
        np.testing.assert_array_equal(value, cut[name])


def test_fish_stay_inside_the_walls():
    for name in ("zebra", "demo", "shelter"):
        scene = SCENES[name]
        x0, y0, x1, y1 = make_tank(scene, 1).floor
        xy = columns(scene)["xy"]
        assert (xy >= [x0, y0]).all() and (xy <= [x1, y1]).all()


def test_another_day_moves_otherwise():
    scene = SCENES["demo"]
    tank, lengths = make_tank(scene, 1), np.full(scene.n_fish, 100.0)
    first, second = (next(swim(scene, tank, lengths, seed=1, day=d, n_frames=5)) for d in (0, 1))
    assert not np.allclose(first.xy, second.xy)
