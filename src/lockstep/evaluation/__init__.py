"""How good predictions are and how sure that is. Numpy and scipy, no torch.

Predictions are probabilities ``[N, C]`` for classes (two classes: C = 2) and ``[N]`` for regression; targets are class
codes or numbers ``[N]``.
"""

from lockstep.evaluation.calibration import Bin, Calibration, reliability, wilson
from lockstep.evaluation.combine import Combination, combine, cross_fitted, from_dict, left_out, mean_of
from lockstep.evaluation.comparison import (
    Difference,
    Posterior,
    Ranked,
    corrected_t_test,
    correlated_bayesian_t_test,
    level_scores,
    probability_best,
    rank,
)
from lockstep.evaluation.ensemble import OutOfFold, average, out_of_fold, usable
from lockstep.evaluation.importance import Importance, permutation_importance, sample_rows
from lockstep.evaluation.interaction import Elsewhere, elsewhere
from lockstep.evaluation.intervals import Interval, bootstrap, resamples_used
from lockstep.evaluation.metrics import (
    HEADLINE,
    LOSS,
    METRICS,
    TASK_METRICS,
    Baseline,
    Metric,
    baseline,
    headline,
    metrics_of,
    score,
)
from lockstep.evaluation.mistakes import Mistakes, confusion_matrix, residual_sample, worst_mistakes

__all__ = [
    "HEADLINE",
    "LOSS",
    "METRICS",
    "TASK_METRICS",
    "Baseline",
    "Bin",
    "Calibration",
    "Combination",
    "Difference",
    "Elsewhere",
    "Importance",
    "Interval",
    "Metric",
    "Mistakes",
    "OutOfFold",
    "Posterior",
    "Ranked",
    "average",
    "baseline",
    "bootstrap",
    "combine",
    "confusion_matrix",
    "corrected_t_test",
    "correlated_bayesian_t_test",
    "cross_fitted",
    "elsewhere",
    "from_dict",
    "headline",
    "left_out",
    "level_scores",
    "mean_of",
    "metrics_of",
    "out_of_fold",
    "permutation_importance",
    "probability_best",
    "rank",
    "reliability",
    "resamples_used",
    "residual_sample",
    "sample_rows",
    "score",
    "usable",
    "wilson",
    "worst_mistakes",
]
