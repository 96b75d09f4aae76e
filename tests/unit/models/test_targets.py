from __future__ import annotations

import pytest
import torch

from shoal.models.pose import PoseMaps
from shoal.models.targets import Grid, Labels, heatmaps, identity_maps, light_loss, light_targets, limb_fields
from shoal.models.targets_dlc import dlc_loss, dlc_targets

NAN = float("nan")
EDGES = torch.tensor([[0, 1]])


def labels(*animals: list[tuple[float, float]], unique: tuple[float, float] = (NAN, NAN), who: int = -1) -> Labels:
    xy = torch.tensor([animals])
    return Labels(xy, torch.tensor([[unique]]), torch.full((1, len(animals)), who))


def perfect(targets, grid: Grid, *, is_dlc: bool = False) -> PoseMaps:
    """Maps that equal their targets."""
    heat = torch.logit(targets.heat, 1e-6) if is_dlc else targets.heat
    identity = 20 * (2 * targets.identity - 1)
    s, side = (grid.stride,) * 2, (grid.side_stride,) * 2
    return PoseMaps(
        heat, targets.limbs, targets.unique, identity, (), s, side, (),
        locref=targets.locref, unique_locref=targets.unique_locref, is_dlc=is_dlc,
    )  # fmt: skip


def test_heatmap_is_one_at_the_keypoint_and_largest_over_animals() -> None:
    heat = heatmaps(torch.tensor([[[[10.0, 6.0]], [[30.0, 6.0]], [[NAN, NAN]]]]), (6, 12), stride=4.0, sigma=5.0)
    assert heat[0, 0, 1, 2] == 1.0  # cell 2's centre is 10, cell 1's is 6
    assert heat[0, 0, 1, 7] == 1.0
    assert torch.isclose(heat[0, 0, 1, 3], torch.exp(torch.tensor(-16 / 50)))
    assert torch.isfinite(heat).all()


def test_limb_fields_point_from_source_to_target_and_have_ends() -> None:
    xy = torch.tensor([[[[10.0, 10.0], [50.0, 10.0]]]])
    field, on = limb_fields(xy, EDGES, (8, 16), stride=4.0, width=4.0)
    assert field[0, :, 2, 5].tolist() == [1.0, 0.0]
    rows, columns = on[0, 0].nonzero().T
    assert rows.tolist() == sorted(rows.tolist())
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 2, 2, 12)


def test_nearest_limb_wins_where_animals_cross() -> None:
    xy = torch.tensor([[[[2.0, 30.0], [58.0, 30.0]], [[30.0, 2.0], [30.0, 58.0]]]])
    for order in ([0, 1], [1, 0]):
        field, _ = limb_fields(xy[:, order], EDGES, (30, 30), stride=2.0, width=6.0)
        assert field[0, :, 15, 12].tolist() == [1.0, 0.0]  # (25, 31): 1 px from the first, 5 from the second
        assert field[0, :, 12, 15].tolist() == [0.0, 1.0]


def test_missing_ends_leave_no_limb() -> None:
    field, on = limb_fields(torch.tensor([[[[NAN, NAN], [50.0, 10.0]]]]), EDGES, (8, 16), stride=4.0, width=4.0)
    assert not on.any()
    assert not field.any()


def test_identity_only_near_named_animals() -> None:
    two = Labels(torch.tensor([[[[10.0, 10.0]], [[50.0, 10.0]]]]), torch.zeros(1, 0, 2), torch.tensor([[1, -1]]))
    identity, named = identity_maps(two, (8, 16), stride=4.0, radius=5.0, n_individuals=3)
    assert identity[0].sum((1, 2)).tolist()[0::2] == [0.0, 0.0]
    assert identity[0, 1, 2, 2] == 1
    assert not named[0, 2, 12]


@pytest.mark.parametrize("is_dlc", [False, True])
def test_perfect_maps_have_no_loss(is_dlc: bool) -> None:
    grid = Grid((24, 24), 4.0, (24, 24), 4.0, 2)
    found = labels([(30.0, 40.0), (60.0, 52.0)], unique=(20.0, 70.0), who=1)
    if is_dlc:
        targets = dlc_targets(found, grid, EDGES)
        terms = dlc_loss(perfect(targets, grid, is_dlc=True), targets)
    else:
        targets = light_targets(found, grid, EDGES, sigma=5.0, limb_width=4.0)
        terms = light_loss(perfect(targets, grid), targets, limb_weight=3.0)
    assert set(terms) >= {"heat", "limb", "unique", "identity"}
    for name, value in terms.items():
        assert value < 1e-4, name


def test_a_batch_in_pieces_has_the_loss_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    xy = 96 * torch.rand(4, 2, 2, 2, generator=generator)
    both = Labels(xy, torch.rand(4, 1, 2, generator=generator) * 96, torch.zeros(4, 2, dtype=torch.int64))
    grid = Grid((24, 24), 4.0, (24, 24), 4.0, 2)
    for make, loss in (
        (
            lambda: light_targets(both, grid, EDGES, sigma=5.0, limb_width=4.0),
            lambda m, t: light_loss(m, t, limb_weight=3.0),
        ),
        (lambda: dlc_targets(both, grid, EDGES), dlc_loss),
    ):
        targets = make()
        s = (4.0, 4.0)

        def random(n: int) -> torch.Tensor:
            return torch.rand(4, n, 24, 24, generator=generator)

        locref = {"locref": random(4), "unique_locref": random(2), "is_dlc": True} if targets.near is not None else {}
        maps = PoseMaps(random(2), random(2), random(1), random(2), (), s, s, (), **locref)
        whole = loss(maps, targets)
        parts = [slice(0, 3), slice(3, 4)]

        def cut(rows: slice, maps: PoseMaps = maps) -> PoseMaps:
            values = {n: getattr(maps, n) for n in maps.__dataclass_fields__}
            return PoseMaps(**{n: v[rows] if isinstance(v, torch.Tensor) else v for n, v in values.items()})

        pieces = [loss(cut(rows), targets.rows(rows)) for rows in parts]
        for name, value in whole.items():
            assert torch.isclose(sum(p[name] for p in pieces), value, rtol=1e-4), name


def test_dlc_targets_are_dlcs() -> None:
    """dlc_formats.md 4.4: discs of 17 px, offsets / 7.2801, limbs v (1 - d / 20) between the ends only."""
    grid = Grid((32, 32), 4.0, (16, 16), 8.0, 0)
    targets = dlc_targets(labels([(50.0, 50.0), (90.0, 50.0)]), grid, EDGES)
    assert targets.heat[0, 0, 12, 12 + 4] == 1  # (66, 50): 16 px away
    assert targets.heat[0, 0, 12, 12 + 5] == 0
    assert targets.locref is not None
    assert torch.isclose(targets.locref[0, 0, 12, 14], torch.tensor((50 - 58) / 7.2801))
    assert targets.locref[0, 1, 14, 12] == pytest.approx((50 - 58) / 7.2801)
    assert targets.limbs[0, 0, 12, 15] == 1
    assert targets.limbs[0, 0, 15, 15] == pytest.approx(1 - 12 / 20)
    assert targets.limbs[0, 0, 12, 11] == 0  # before the first end
    assert targets.limbs[0, 0, 12, 23] == 0  # after the second


def test_empty_crops_have_a_finite_loss() -> None:
    grid = Grid((8, 8), 4.0, (8, 8), 4.0, 0)
    none = Labels(torch.zeros(2, 0, 2, 2), torch.full((2, 1, 2), NAN), torch.zeros(2, 0, dtype=torch.int64))
    targets = light_targets(none, grid, EDGES, sigma=5.0, limb_width=4.0)
    maps = perfect(targets, grid)
    assert sum(light_loss(maps, targets, limb_weight=3.0).values()) == 0
