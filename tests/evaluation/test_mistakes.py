import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lockstep.evaluation import confusion_matrix, residual_sample, score, worst_mistakes


def test_the_worst_mistake_is_the_true_class_given_the_least_probability():
    probability = np.array([[0.9, 0.1], [0.4, 0.6], [0.01, 0.99], [0.3, 0.7]])
    worst = worst_mistakes("binary", np.array([0, 0, 0, 1]), probability)
    assert worst.rows.tolist() == [2, 1]
    np.testing.assert_allclose(worst.error, [0.99, 0.6])
    assert worst_mistakes("binary", np.array([0, 0, 0, 1]), probability, most=1).rows.tolist() == [2]


def test_the_worst_residuals_come_first_whichever_way_they_point_and_exact_rows_never():
    worst = worst_mistakes("regression", np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.5, 2.0, 0.0, 5.0]))
    assert worst.rows.tolist() == [2, 3, 0]
    assert worst.error.tolist() == [3.0, 1.0, 0.5]


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 50), classes=st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_the_confusion_matrix_is_scikit_learns_and_agrees_with_accuracy_and_mistakes(seed, rows, classes):
    rng = np.random.default_rng(seed)
    target, probability = rng.integers(0, classes, rows), rng.dirichlet(np.ones(classes), size=rows)
    counts = confusion_matrix(target, probability)
    assert counts.shape == (classes, classes)
    if rows:
        expected = sk.confusion_matrix(target, probability.argmax(axis=1), labels=np.arange(classes))
        assert (counts == expected).all()
        accuracy = score("multiclass", target, probability)["accuracy"]
        assert np.isclose(np.trace(counts), accuracy * rows)
    worst = worst_mistakes("multiclass", target, probability, most=rows + 1)
    assert len(worst.rows) == rows - np.trace(counts)
    assert (np.diff(worst.error) <= 0).all()


def test_a_residual_sample_keeps_pairs_together_and_is_the_same_for_the_same_seed():
    target = np.arange(5000.0)
    actual, predicted = residual_sample(target, target + 0.5)
    assert len(actual) == 2000
    assert (predicted - actual == 0.5).all()
    assert (residual_sample(target, target + 0.5)[0] == actual).all()
    assert len(residual_sample(target[:10], target[:10])[0]) == 10
