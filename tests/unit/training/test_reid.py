"""Learning who is who from a video's own tracklets."""

import numpy as np
import pytest
import torch

from shoal.config.reid import ReidConfig
from shoal.models.reid import CropEncoder, encode, prepared, usual_colour
from shoal.stages.evidence import evidence_of_looks, log_odds
from shoal.training.reid import learn_encoder


def striped(animal, n, rng):
    """Noisy crops of animals that differ in their stripes."""
    x = np.arange(80)
    stripes = 120 + 60 * np.sin(x / (2.0 + animal))[None, :, None] * np.ones((40, 1, 3))
    return np.clip(stripes + rng.normal(0, 15, (n, 40, 80, 3)), 1, 255).astype(np.uint8)


@pytest.fixture
def video():
    """Two animals, two tracklets each: 0 and 1 together, then 2 (as 0) and 3 (as 1)."""
    rng = np.random.default_rng(0)
    image = np.concatenate([striped(a, 12, rng) for a in (0, 1, 0, 1)])
    first, last = np.array([0, 0, 100, 100]), np.array([50, 50, 150, 150])
    return image, np.repeat(np.arange(4), 12), first, last


def test_animals_are_known_again_that_were_never_seen_together_with_themselves(video):
    image, tracklet, first, last = video
    net, colour = learn_encoder(image, tracklet, first, last, ReidConfig(steps=40, size=16), torch.device("cpu"))
    vector = encode(net, torch.from_numpy(image), colour).numpy()
    evidence = evidence_of_looks(vector, tracklet, first, last)
    assert evidence is not None
    odds = log_odds(evidence, np.array([0, 1, 0, 1]), np.array([2, 3, 3, 2]))
    assert (odds[:2] > 2).all() and (odds[2:] < -2).all()


def test_the_same_seed_gives_the_same_network(video):
    config = ReidConfig(steps=3, size=8)
    nets = [learn_encoder(*video, config, torch.device("cpu"))[0] for _ in range(2)]
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_one_animal_has_nothing_to_learn_from(video):
    image, tracklet, *_ = video
    with pytest.raises(ValueError, match="seen at the same time"):
        one_by_one = np.arange(4) * 100
        learn_encoder(image, tracklet, one_by_one, one_by_one + 50, ReidConfig(steps=2), torch.device("cpu"))
    with pytest.raises(ValueError, match="seen at the same time"):
        none = np.zeros(0, np.int64)
        learn_encoder(image[:0], none, none, none, ReidConfig(steps=2), torch.device("cpu"))


def test_what_is_blank_in_a_crop_does_not_count():
    image = torch.randint(1, 255, (2, 40, 80, 3), dtype=torch.uint8)
    image[:, :, 40:] = 0
    colour = usual_colour(image)
    shown = image[:, :, :40].double()
    np.testing.assert_allclose(colour[0], shown.mean(dim=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(colour[1], float(shown.std()), rtol=0.01)
    assert (prepared(image, colour)[..., 40:] == 0).all()
    net = CropEncoder(8).eval()
    vector = encode(net, image, colour)
    np.testing.assert_allclose(vector.norm(dim=1), 1, atol=1e-5)
    assert encode(net, image[:0], colour).shape[0] == 0


def test_evidence_needs_both_kinds_of_pairs():
    vector = np.eye(4, dtype=np.float32)[np.repeat([0, 1], 10)]
    one = np.zeros(20, np.int64)
    apart = np.repeat([0, 1], 10)
    assert evidence_of_looks(vector, one, np.array([0]), np.array([9])) is None
    assert evidence_of_looks(vector, apart, np.array([0, 20]), np.array([9, 29])) is None, "never seen together"
    assert evidence_of_looks(vector[:0], one[:0], np.array([0]), np.array([9])) is None
    found = evidence_of_looks(vector, apart, np.array([0, 5]), np.array([9, 29]))
    assert found is not None and log_odds(found, np.array([0]), np.array([1]))[0] < -2
