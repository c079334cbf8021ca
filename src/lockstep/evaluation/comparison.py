"""Whether one candidate is better than another, given their scores on the same folds and seeds.

Scores of cross-validation are not independent: training sets overlap, so the spread over folds understates how far a
difference could be off. Both tests here widen it by ``n_test / n_train``, the ratio of validation to training rows of
one fold (1 / (k - 1) for k folds). Seeds on one fold share its rows as well as its training set, and are no new
evidence about the data: they are averaged within each fold first. With a single fold the seeds are all there is, and
what is found holds for those rows alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from lockstep.evaluation.weighted import Floats

Over = Literal["folds", "seeds"]


@dataclass(frozen=True)
class Units:
    """Scores ``[..., J]`` of J things that may be counted as observations, what these are, and n_test / n_train.

    ``ratio`` is 0 over seeds: members of one fold differ by chance alone.
    """

    scores: Floats
    over: Over
    ratio: float


def units(scores: NDArray[Any], test_over_train: float) -> Units:
    """Scores (or differences) ``[..., F, S]`` of folds × seeds, as the observations that the tests below count."""
    scores = np.asarray(scores, dtype=np.float64)
    assert scores.ndim >= 2, f"scores end in [F, S], however: {scores.shape}"
    if scores.shape[-2] > 1:
        return Units(scores.mean(axis=-1), "folds", test_over_train)
    return Units(scores[..., 0, :], "seeds", 0.0)


@dataclass(frozen=True)
class Difference:
    """A mean difference, its confidence interval, and the two-sided p-value of there being none. NaN where unknown."""

    mean: float
    low: float
    high: float
    statistic: float
    p_value: float
    count: int
    over: Over


def corrected_t_test(
    differences: NDArray[Any], *, test_over_train: float, level: float = 0.95, grain: float = 0.0
) -> Difference:
    """The corrected resampled t-test on paired differences ``[F, S]`` of folds × seeds (Nadeau and Bengio 2003).

    ``t = mean / sqrt((1/J + n_test/n_train) s²)`` with J - 1 degrees of freedom, where the J differences are those of
    the folds, averaged over seeds (of the seeds where there is one fold), and s² their variance. The interval at
    ``level`` belongs to the same t. One observation alone, or any that is not finite, gives NaN.

    ``grain`` is what one row changes a score by, 1/n of an accuracy: a few folds may differ by the same row or two
    each, which would look like certainty. A difference d of shares is one of |d|/grain rows at least, and so has a
    variance of |d|·grain at least.
    """
    observed = units(differences, test_over_train)
    mean, scale, freedom = _location_scale(observed, grain)
    if math.isnan(scale):
        statistic = p_value = half = math.nan
    elif scale == 0:
        statistic, half = (math.copysign(math.inf, mean) if mean else 0.0), 0.0
        p_value = 0.0 if mean else 1.0
    else:
        statistic = mean / scale
        p_value = float(2 * stdtr(freedom, -abs(statistic)))
        half = float(stdtrit(freedom, (1 + level) / 2)) * scale
    return Difference(mean, mean - half, mean + half, statistic, p_value, observed.scores.size, observed.over)


@dataclass(frozen=True)
class Posterior:
    """Probabilities that the difference lies below, within and above what counts as none; they sum to 1."""

    below: float
    within: float
    above: float


def correlated_bayesian_t_test(
    differences: NDArray[Any], *, test_over_train: float, equivalent: float = 0.0
) -> Posterior:
    """The correlated Bayesian t-test on paired differences ``[F, S]`` (Corani and Benavoli 2015).

    The posterior of the mean difference is Student's t with J - 1 degrees of freedom, around the mean and with scale
    ``sqrt((1/J + ρ/(1-ρ)) s²)``; ρ = n_test / (n_test + n_train), so ρ/(1-ρ) = n_test/n_train. Differences of at most
    ``equivalent`` either way count as none. Observations are those of ``corrected_t_test``; NaN where that is NaN.
    """
    mean, scale, freedom = _location_scale(units(differences, test_over_train))
    if math.isnan(scale):
        return Posterior(math.nan, math.nan, math.nan)
    if scale == 0 and equivalent == 0 and mean == 0:
        return Posterior(0.5, 0.0, 0.5)
    if scale == 0:
        return Posterior(float(mean < -equivalent), float(abs(mean) <= equivalent), float(mean > equivalent))
    below = float(stdtr(freedom, (-equivalent - mean) / scale))
    above = float(stdtr(freedom, (mean - equivalent) / scale))
    return Posterior(below, max(0.0, 1 - below - above), above)


def probability_best(
    scores: NDArray[Any],
    *,
    larger_is_better: bool,
    test_over_train: float,
    draws: int = 50_000,
    seed: int = 0,
    grain: float = 0.0,
) -> Floats:
    """``[C]``: the probability that each candidate has the best mean score, from ``scores`` ``[C, F, S]``. Sums to 1.

    The joint posterior whose every pair is the correlated Bayesian t-test's: multivariate Student's t with J - 1
    degrees of freedom around the mean scores, its scale matrix ``(1/J + n_test/n_train) Σ`` with Σ the candidates'
    covariance over the J observations of ``units``. Drawn ``draws`` times: a probability is off by 0.002 or so.
    Candidates that are equally good share. A candidate with a score that is not finite has probability 0, and the only
    one without has 1. NaN for all where there is none, or where one observation alone leaves the spread unknown.
    ``grain`` is that of ``corrected_t_test``: it widens a difference to the best mean that varies too little.
    """
    observed = units(scores, test_over_train)
    candidates, J = observed.scores.shape
    finite = np.array([np.isfinite(one).all() for one in observed.scores], dtype=np.bool_)
    if finite.sum() == 1:
        return finite.astype(np.float64)
    if J < 2 or not finite.any():
        return np.full(candidates, np.nan)
    values_JC = observed.scores[finite].T * (1 if larger_is_better else -1)
    mean = values_JC.mean(axis=0)
    rng = np.random.default_rng(seed)
    # Z [draws, J] times the centred scores is normal with their covariance, of whatever rank that is.
    normal = rng.standard_normal((draws, J)) @ ((values_JC - mean) / math.sqrt(J - 1))
    if grain > 0:
        behind = values_JC - values_JC[:, [int(mean.argmax())]]
        missing = np.maximum(0.0, np.abs(behind.mean(axis=0)) * grain - behind.var(axis=0, ddof=1))
        normal += rng.standard_normal(normal.shape) * np.sqrt(missing)
    stretch = np.sqrt((J - 1) / rng.chisquare(J - 1, size=(draws, 1)))
    posterior = mean + math.sqrt(1 / J + observed.ratio) * stretch * normal
    first: Floats = (posterior >= posterior.max(axis=1, keepdims=True)).astype(np.float64)
    best = np.zeros(candidates)
    best[finite] = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return best


@dataclass(frozen=True)
class Ranked:
    """One of several candidates: its mean score, its paired difference to the best one, and what that shows.

    ``p_holm`` is the difference's p-value once all differences to the best are judged together (Holm 1979), ``worse``
    says that it is below 0.05, ``alone`` that the interval excludes none and yet ``worse`` is not so: taken by itself
    the difference is beyond chance, among so many it is not. Of the best itself the difference is none.
    """

    place: int
    mean: float
    difference: Difference
    p_holm: float
    worse: bool
    alone: bool
    probability_best: float


def rank(
    scores: NDArray[Any],
    *,
    larger_is_better: bool,
    test_over_train: float,
    grain: float = 0.0,
    ties: NDArray[Any] | None = None,
) -> list[Ranked]:
    """The candidates, the best first, from their scores ``[C, F, S]`` on the same folds and seeds.

    ``place`` is a candidate's place among the scores. One with a score that is not finite comes last. Of equal means
    the one with the smaller ``ties`` ``[C]`` is better. Every difference is to the best mean, which was chosen by these
    very scores: that makes differences look a little larger than they are.
    """
    scores = np.asarray(scores, dtype=np.float64)
    mean = scores.mean(axis=(1, 2))
    signed = np.where(np.isfinite(mean), -mean if larger_is_better else mean, np.inf)
    order = np.lexsort((np.zeros(len(mean)) if ties is None else ties, signed))
    first = scores[order[0]]
    differences = [corrected_t_test(one - first, test_over_train=test_over_train, grain=grain) for one in scores]
    best = probability_best(scores, larger_is_better=larger_is_better, test_over_train=test_over_train, grain=grain)
    together = holm(np.array([differences[place].p_value for place in order[1:]]))
    return [
        Ranked(
            int(place), float(mean[place]), differences[place], p_holm, p_holm < 0.05,
            _excludes_none(differences[place]) and not p_holm < 0.05, float(best[place]),
        )
        for place, p_holm in zip(order, [1.0, *together], strict=True)
    ]  # fmt: skip


def holm(p_values: NDArray[Any]) -> list[float]:
    """P-values adjusted for being judged together (Holm 1979), in their own order; NaN stays and does not count."""
    p = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(p))
    ascending = known[np.argsort(p[known])]
    adjusted = np.full(len(p), np.nan)
    steps = np.minimum(1.0, p[ascending] * np.arange(len(ascending), 0, -1))
    adjusted[ascending] = np.maximum.accumulate(steps)
    return [float(value) for value in adjusted]


def level_scores(
    scores: NDArray[Any], choices: Sequence[Mapping[str, Any]], path: str
) -> tuple[list[Any], Floats, bool]:
    """The levels of one factor and their scores ``[L, F, S]``: means over the candidates of the level.

    ``choices`` say what each of the candidates ``[C, F, S]`` chose, by dotted path. Like is compared with like: only
    combinations of the other factors count that are there, and finite, at every level. The flag is False where there is
    no such combination, and each level's mean is over what it has.
    """
    levels = list(dict.fromkeys(chosen[path] for chosen in choices if path in chosen))
    finite = np.isfinite(scores).all(axis=(1, 2))
    rows: dict[object, dict[Any, int]] = {}
    for place, chosen in enumerate(choices):
        if path in chosen and finite[place]:
            others = tuple((key, value) for key, value in chosen.items() if key != path)
            rows.setdefault(others, {})[chosen[path]] = place
    whole = [row for row in rows.values() if len(row) == len(levels)]
    used = whole or list(rows.values())
    places = [[row[level] for row in used if level in row] for level in levels]
    nothing = np.full(scores.shape[1:], np.nan)
    return levels, np.stack([scores[own].mean(axis=0) if own else nothing for own in places]), bool(whole)


def _excludes_none(difference: Difference) -> bool:
    return math.isfinite(difference.low) and not difference.low <= 0 <= difference.high


def _location_scale(observed: Units, grain: float = 0.0) -> tuple[float, float, int]:
    """Mean, corrected standard error (NaN where unknown) and degrees of freedom of ``[J]`` observations."""
    values = observed.scores
    assert values.ndim == 1, f"differences are [F, S], however: one axis more, {values.shape}"
    J = values.size
    mean = float(values.mean())
    if J < 2 or not np.isfinite(values).all():
        return mean, math.nan, J - 1
    spread = float(values.std(ddof=1))
    if spread < 1e-14 * float(np.abs(values).max()):  # equal but for round-off
        spread = 0.0
    spread = max(spread, math.sqrt(abs(mean) * grain))
    return mean, math.sqrt(1 / J + observed.ratio) * spread, J - 1
