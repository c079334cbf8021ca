"""What is said of a ranking never says of one candidate that it is worse and that it is not."""

import itertools
import re

import numpy as np
import pytest

from lockstep.evaluation import METRICS
from lockstep.jobs.comparison import compared

RMSE, ACCURACY = METRICS["rmse"], METRICS["accuracy"]


@pytest.fixture
def rng():
    return np.random.default_rng()


def said(scores, choices=None, metric=RMSE):
    scores = np.asarray(scores, dtype=float)
    choices = choices or [{"model.activation": f"net{c}x"} for c in range(len(scores))]
    return compared(scores, choices, metric, candidates=range(len(scores)), test_over_train=1 / 4)


def test_every_candidate_is_in_one_group_and_the_verdict_names_it_once(rng):
    for _ in range(60):
        spread = rng.uniform(0, 2)
        scores = 5 + rng.normal(size=(4, 5, 1)) * 0.3 + spread * np.arange(4)[:, None, None] * rng.random()
        found = said(scores)
        text = found["verdict"]
        worse = [one for one in found["candidates"] if one["worse"]]
        assert all(one["p_holm"] < 0.05 for one in worse)
        assert text.startswith("No difference") == (not worse)
        assert all(len(re.findall(rf"\b{one['label']}\b", text)) <= 1 for one in found["candidates"])
        assert not any(one["worse"] and one["alone"] for one in found["candidates"])
        if not worse:
            assert "worse by more than chance." not in text.replace("no other is worse by more than chance.", "")


def alone(differences=(-0.3, -0.2, -0.25, -0.2, -0.05)):
    """Scores of four candidates of which the second differs from the best beyond chance only by itself."""
    base = np.array([5.0, 5.2, 4.9, 5.1, 5.0])
    noisy = [base + 0.01, base + np.array([0.4, -0.35, 0.3, -0.3, 0.1]), base + np.array([-0.3, 0.4, -0.3, 0.2, 0.1])]
    return np.stack([base + np.array(differences), *noisy])[:, :, None]


def test_a_difference_beyond_chance_only_by_itself_is_one_sentence():
    found = said(alone())
    doubtful = [one for one in found["candidates"] if one["alone"]]
    assert [one["label"] for one in doubtful] == ["net1x"]
    assert found["verdict"].startswith("No difference that this data can show: net0x has the best mean (RMSE ")
    assert found["verdict"].endswith(
        "net1x is worse only taken alone, and among 3 differences together that can be chance."
    )
    assert "Holm's correction for 3 differences" in found["how"]


def test_a_likely_best_that_is_not_shown_is_said_with_its_probability():
    found = said(np.array([[5.0, 5.1, 4.9, 5.0, 5.2], [5.3, 5.2, 5.1, 5.05, 5.5]])[:, :, None])
    best = found["candidates"][0]
    assert not any(one["worse"] or one["alone"] for one in found["candidates"])
    assert best["probability_best"] > 0.9
    assert f"is the likeliest to be best ({100 * best['probability_best']:.0f} %), and no other is" in found["verdict"]


def crossed(rng, means, noise):
    choices = [{"model.activation": a, "optimizer": o} for o, a in itertools.product(["sgd", "adam"], ["relu", "tanh"])]
    scores = np.array(means, dtype=float).reshape(4, 1, 1) + rng.normal(size=(1, 5, 2))
    return said(scores + noise * rng.normal(size=(4, 5, 2)), choices)


def test_a_factor_whose_best_level_depends_on_another_says_where(rng):
    found = crossed(rng, [[5.0, 4.0], [2.0, 6.0]], noise=1e-3)
    activation, optimizer = found["factors"]
    activation, optimizer = (activation, optimizer) if activation["name"] == "activation" else (optimizer, activation)
    assert activation["verdict"].startswith("On average over optimizer, relu is best (RMSE ")
    assert "But it depends on optimizer, by more than chance: with sgd, tanh is ahead of relu." in activation["verdict"]
    (where,) = activation["depends"]
    assert (where["on"], where["at"], where["level"], where["than"]) == ("optimizer", "sgd", "tanh", "relu")
    assert where["gain"] == pytest.approx(1, abs=0.01)
    assert optimizer["verdict"].endswith("with tanh, sgd is ahead of adam.")


def test_a_factor_that_is_best_everywhere_has_no_but(rng):
    found = crossed(rng, [[4.0, 5.0], [2.0, 6.0]], noise=1e-3)
    (activation,) = [factor for factor in found["factors"] if factor["name"] == "activation"]
    assert activation["depends"] == []
    assert activation["verdict"].endswith("tanh is worse by more than chance.")


def test_a_change_of_sides_that_can_be_chance_is_called_that():
    scores = np.array(
        [
            [[5.0], [5.3], [4.8], [5.1]],
            [[4.9], [5.4], [4.7], [5.0]],  # sgd: tanh ahead by a hair
            [[3.0], [3.4], [2.8], [3.1]],
            [[3.3], [3.1], [3.4], [3.3]],
        ]
    )
    choices = [{"model.activation": a, "optimizer": o} for o, a in itertools.product(["sgd", "adam"], ["relu", "tanh"])]
    found = said(scores, choices)
    (activation,) = [factor for factor in found["factors"] if factor["name"] == "activation"]
    assert "By optimizer the best mean varies, which can be chance: it is tanh with sgd." in activation["verdict"]


def test_a_single_factor_is_averaged_over_nothing():
    found = said(alone())
    assert not found["factors"][0]["verdict"].startswith("On average")
