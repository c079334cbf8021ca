"""How good predictions are and how sure that is: metrics, intervals, ensembles. Numpy and scipy, no torch."""

from lockstep.evaluation.ensemble import OutOfFold, average, out_of_fold, usable
from lockstep.evaluation.intervals import Interval, bootstrap, resamples_used
from lockstep.evaluation.metrics import HEADLINE, LOSS, METRICS, TASK_METRICS, Baseline, Metric, baseline, score

__all__ = [
    "HEADLINE",
    "LOSS",
    "METRICS",
    "TASK_METRICS",
    "Baseline",
    "Interval",
    "Metric",
    "OutOfFold",
    "average",
    "baseline",
    "bootstrap",
    "out_of_fold",
    "resamples_used",
    "score",
    "usable",
]
