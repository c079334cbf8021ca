import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lockstep.evaluation import corrected_t_test, correlated_bayesian_t_test, level_scores, probability_best, rank
from lockstep.evaluation.comparison import holm

EXAMPLE = np.array([[0.02], [0.01], [0.03], [-0.01], [0.02]])  # 5 folds, 1 seed


def test_the_corrected_t_test_has_the_value_worked_out_by_hand():
    # mean .014, s² .00023, so t = .014 / sqrt((1/5 + 1/4) .00023) = 1.3761 with 4 degrees of freedom, whose law is
    # F(t) = 1/2 + 3/8 u (1 - u²/12) with u = t / sqrt(1 + t²/4) = 1.1337: F = .8796
    found = corrected_t_test(EXAMPLE, test_over_train=1 / 4)
    assert found.mean == pytest.approx(0.014)
    assert found.statistic == pytest.approx(1.37612, abs=1e-5)
    assert found.p_value == pytest.approx(0.2408, abs=1e-5)
    assert (found.count, found.over) == (5, "folds")


@given(seed=st.integers(0, 2**32 - 1), folds=st.integers(2, 12), ratio=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_correction_divides_scipys_t_by_the_root_of_one_plus_j_times_the_ratio(seed, folds, ratio):
    differences = np.random.default_rng(seed).normal(0.3, 1, size=(folds, 1))
    plain = stats.ttest_1samp(differences[:, 0], 0)
    found = corrected_t_test(differences, test_over_train=ratio)
    statistic = plain.statistic / math.sqrt(1 + folds * ratio)
    assert found.statistic == pytest.approx(statistic)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(statistic), folds - 1))
    assert (found.low > 0 or found.high < 0) == (found.p_value < 0.05)


@given(seed=st.integers(0, 2**32 - 1), folds=st.integers(2, 12), ratio=st.floats(0, 1), width=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_bayesian_posterior_is_students_t_and_sums_to_one(seed, folds, ratio, width):
    differences = np.random.default_rng(seed).normal(0.3, 1, size=(folds, 1))
    found = correlated_bayesian_t_test(differences, test_over_train=ratio, equivalent=width)
    scale = math.sqrt(1 / folds + ratio) * differences.std(ddof=1)
    law = stats.t(folds - 1, differences.mean(), scale)
    assert found.above == pytest.approx(law.sf(width))
    assert found.within == pytest.approx(law.cdf(width) - law.cdf(-width), abs=1e-12)
    assert found.below + found.within + found.above == pytest.approx(1)


def test_without_a_region_of_equivalence_the_posterior_mirrors_the_p_value():
    p_value = corrected_t_test(EXAMPLE, test_over_train=0.25).p_value
    found = correlated_bayesian_t_test(EXAMPLE, test_over_train=0.25)
    assert found.below == pytest.approx(p_value / 2)
    assert found.above == pytest.approx(1 - p_value / 2)


def overlapping(rng, runs, folds, seeds, ratio, spread_of_seeds):
    """Differences [runs, folds, seeds] of mean 0, correlated over folds as overlapping training sets make them."""
    shared = rng.normal(scale=math.sqrt(ratio), size=(runs, 1, 1))
    return shared + rng.normal(size=(runs, folds, 1)) + spread_of_seeds * rng.normal(size=(runs, folds, seeds))


@pytest.mark.parametrize("spread_of_seeds", [0.0, 1.0])
def test_the_corrected_test_cries_wolf_once_in_twenty_where_the_plain_one_and_seeds_as_folds_do_often(spread_of_seeds):
    runs = overlapping(np.random.default_rng(0), 1500, 5, 4, 0.25, spread_of_seeds)
    wolf = np.mean([corrected_t_test(run, test_over_train=0.25).p_value < 0.05 for run in runs])
    plain = np.mean(stats.ttest_1samp(runs.mean(axis=2), 0, axis=1).pvalue < 0.05)
    flat = stats.ttest_1samp(runs.reshape(1500, 20), 0, axis=1).statistic / math.sqrt(1 + 20 * 0.25)
    seeds_as_folds = np.mean(2 * stats.t.sf(np.abs(flat), 19) < 0.05)
    assert 0.02 <= wolf <= 0.065
    assert plain > 0.1
    assert seeds_as_folds > wolf


def test_seeds_are_averaged_within_a_fold_and_a_single_fold_is_compared_over_its_seeds():
    differences = np.random.default_rng(0).normal(size=(5, 3))
    averaged = corrected_t_test(differences.mean(axis=1, keepdims=True), test_over_train=0.25)
    assert corrected_t_test(differences, test_over_train=0.25) == averaged
    one_fold = corrected_t_test(differences[:1], test_over_train=0.25)
    assert (one_fold.count, one_fold.over) == (3, "seeds")
    assert one_fold.p_value == pytest.approx(stats.ttest_1samp(differences[0], 0).pvalue)


def test_one_observation_or_a_failed_member_tells_nothing_and_equal_scores_tell_all():
    assert math.isnan(corrected_t_test(np.array([[0.1]]), test_over_train=0.25).p_value)
    assert math.isnan(corrected_t_test(np.array([[0.1], [math.nan]]), test_over_train=0.25).p_value)
    assert math.isnan(correlated_bayesian_t_test(np.array([[0.1]]), test_over_train=0.25).above)
    same = np.zeros((5, 2))
    assert corrected_t_test(same, test_over_train=0.25).p_value == 1.0
    assert correlated_bayesian_t_test(same, test_over_train=0.25).above == 0.5
    assert corrected_t_test(same + 0.1, test_over_train=0.25).p_value == 0.0
    assert correlated_bayesian_t_test(same + 0.1, test_over_train=0.25).above == 1.0
    assert correlated_bayesian_t_test(same + 0.1, test_over_train=0.25, equivalent=0.2).within == 1.0


@given(seed=st.integers(0, 2**32 - 1), folds=st.integers(2, 8))
@settings(max_examples=10, deadline=None)
def test_of_two_the_probability_of_being_best_is_the_bayesian_tests(seed, folds):
    scores = np.random.default_rng(seed).normal(size=(2, folds, 3))
    pair = correlated_bayesian_t_test(scores[0] - scores[1], test_over_train=0.25)
    best = probability_best(scores, larger_is_better=True, test_over_train=0.25)
    np.testing.assert_allclose(best, [pair.above, pair.below], atol=0.012)
    lowest = probability_best(scores, larger_is_better=False, test_over_train=0.25)
    np.testing.assert_allclose(lowest, best[::-1], atol=0.012)


def test_probabilities_of_being_best_sum_to_one_favour_the_best_and_are_shared_by_twins():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1, 5, 2)) + 0.2 * rng.normal(size=(4, 5, 2)) + np.array([0, 1, 0, 0])[:, None, None]
    best = probability_best(scores, larger_is_better=True, test_over_train=0.25)
    assert best.sum() == pytest.approx(1)
    assert best.argmax() == 1
    assert best[1] > 0.9
    twins = probability_best(scores[[1, 1, 0]], larger_is_better=True, test_over_train=0.25)
    assert twins[0] == twins[1] > 0.45


def test_a_failed_candidate_is_never_best_and_a_single_observation_leaves_it_open():
    scores = np.random.default_rng(0).normal(size=(3, 4, 1))
    scores[1, 2, 0] = np.nan
    best = probability_best(scores, larger_is_better=True, test_over_train=1 / 3)
    assert best[1] == 0
    assert best.sum() == pytest.approx(1)
    assert np.isnan(probability_best(scores[:, :1], larger_is_better=True, test_over_train=1 / 3)).all()
    assert probability_best(scores[:2], larger_is_better=True, test_over_train=1 / 3).tolist() == [1.0, 0.0]
    assert np.isnan(probability_best(scores[1:2], larger_is_better=True, test_over_train=1 / 3)).all()


def test_the_same_one_row_in_every_fold_is_no_certainty():
    one_row = np.full((3, 1), -1 / 100)
    plain = corrected_t_test(one_row, test_over_train=0.5)
    assert (plain.low, plain.high) == (-0.01, -0.01)
    grained = corrected_t_test(one_row, test_over_train=0.5, grain=1 / 100)
    # s² is at least .01 · .01, so the standard error is sqrt((1/3 + 1/2) · 1e-4), and t = -1.095
    assert grained.statistic == pytest.approx(-1.0954, abs=1e-4)
    assert grained.low < 0 < grained.high
    scores = np.stack([np.full((3, 1), 0.9), np.full((3, 1), 0.89)])
    best = probability_best(scores, larger_is_better=True, test_over_train=0.5, grain=1 / 100)
    assert 0.7 < best[0] < 0.9  # Student's t: P(T > -1.095) with 2 degrees of freedom is .806
    wide = np.array([[-0.5], [0.2], [0.1]])
    assert corrected_t_test(wide, test_over_train=0.5, grain=1e-3) == corrected_t_test(wide, test_over_train=0.5)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 6), larger=st.booleans())
@settings(max_examples=20, deadline=None)
def test_candidates_are_ranked_by_their_means_and_compared_with_the_first(seed, count, larger):
    scores = np.random.default_rng(seed).normal(size=(count, 4, 2))
    ranked = rank(scores, larger_is_better=larger, test_over_train=1 / 3)
    means = [one.mean for one in ranked]
    assert means == sorted(means, reverse=larger)
    assert sorted(one.place for one in ranked) == list(range(count))
    best = scores[ranked[0].place]
    for one in ranked[1:]:
        assert one.difference == corrected_t_test(scores[one.place] - best, test_over_train=1 / 3)
        assert one.worse == (one.p_holm < 0.05)
        assert (one.worse or one.alone) == (not one.difference.low <= 0 <= one.difference.high)
        assert not (one.worse and one.alone)
        assert one.p_holm >= one.difference.p_value
    assert not ranked[0].worse


def test_a_candidate_that_failed_comes_last_and_equal_means_go_by_the_loss():
    scores = np.random.default_rng(0).normal(size=(4, 3, 1))
    scores[3] = scores[1]
    scores[1:] += 10
    scores[2, 0, 0] = np.nan
    ranked = rank(scores, larger_is_better=True, test_over_train=0.5, ties=np.array([0.0, 2.0, 0.0, 1.0]))
    assert [one.place for one in ranked] == [3, 1, 0, 2]
    assert math.isnan(ranked[3].mean)
    assert not ranked[3].worse


def test_holms_p_values_are_those_worked_out_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    nothing, one = holm([math.nan, 0.04])
    assert math.isnan(nothing)
    assert one == 0.04


def test_levels_are_compared_over_the_combinations_that_all_of_them_have():
    choices = [{"a": a, "b": b} for a in ("x", "y") for b in (1, 2, 3)]
    scores = np.arange(6.0).reshape(6, 1, 1)
    levels, means, whole = level_scores(scores, choices, "a")
    assert (levels, means[:, 0, 0].tolist(), whole) == (["x", "y"], [1.0, 4.0], True)
    scores[4] = np.nan  # y with 2 failed: so x with 2 does not count either
    levels, means, whole = level_scores(scores, choices, "a")
    assert (means[:, 0, 0].tolist(), whole) == ([1.0, 4.0], True)
    levels, means, whole = level_scores(scores, choices, "b")  # so only x has all of 1, 2 and 3
    assert (levels, means[:, 0, 0].tolist(), whole) == ([1, 2, 3], [0.0, 1.0, 2.0], True)
    apart = [{"a": "x", "x.b": 1}, {"a": "x", "x.b": 2}, {"a": "y"}]
    levels, means, whole = level_scores(np.array([1.0, 2.0, 5.0]).reshape(3, 1, 1), apart, "a")
    assert (levels, means[:, 0, 0].tolist(), whole) == (["x", "y"], [1.5, 5.0], False)
