"""How the networks of a run become one model: what each is combined with, fitted and judged out of fold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.engine.population import Member
from lockstep.evaluation import (
    METRICS,
    Combination,
    combine,
    cross_fitted,
    from_dict,
    headline,
    left_out,
    out_of_fold,
    score,
)
from lockstep.findings import Finding
from lockstep.jobs.model import Floats
from lockstep.jobs.prepared import Prepared, Rows
from lockstep.spec.ensemble import Method

MOST_LEFT_OUT = 64  # members: above that, what a single one adds is lost in the rounding


@dataclass(frozen=True, eq=False)
class Combined:
    """``models`` are the members of each candidate and seed, a network per fold, whose mean is one model; the
    ``combination`` makes one prediction of theirs.

    ``rows`` are those that every model predicts out of fold, and ``prediction`` what the combination says of them, each
    fold's rows by a combination that was fitted on the other folds.
    """

    method: Method
    models: tuple[tuple[int, ...], ...]
    combination: Combination
    rows: Rows
    prediction: Floats

    @property
    def members(self) -> set[int]:
        """The indices of all networks that are combined."""
        return {member for model in self.models for member in model}


def models_of(members: Sequence[Member]) -> dict[tuple[int, int], list[int]]:
    """The positions of the networks of each (candidate, seed)."""
    found: dict[tuple[int, int], list[int]] = {}
    for position, member in enumerate(members):
        found.setdefault((member.candidate, member.seed), []).append(position)
    return found


def combined(prepared: Prepared, members: Sequence[Member], own: Sequence[Floats], method: Method) -> Combined | None:
    """The combination of all candidates and seeds that have a network for every fold. None for the mean, and where
    there are no two such.

    ``own`` are the members' predictions on their own validation rows.
    """
    if method == "mean":
        return None
    folds = {member.fold: member.valid_rows for member in members}
    groups = [group for group in models_of(members).values() if {members[p].fold for p in group} == set(folds)]
    if len(groups) < 2:
        return None
    count = len(prepared.target)
    each = [out_of_fold([own[p] for p in group], [members[p].valid_rows for p in group], count) for group in groups]
    rows = np.flatnonzero(np.all([one.covered for one in each], axis=0))
    predictions = np.stack([one.prediction[rows] for one in each])
    task, target = prepared.schema.task, prepared.target[rows]
    places = [np.flatnonzero(np.isin(rows, valid)) for valid in folds.values()]
    return Combined(
        method,
        tuple(tuple(members[p].index for p in group) for group in groups),
        combine(method, task, target, predictions),
        rows,
        cross_fitted(method, task, target, predictions, places),
    )


def not_combined(method: Method, mixed: Combined | None, members: Sequence[Member]) -> list[Finding]:
    """What is to be said where another ``method`` than the mean was asked for and could not be.

    ``members`` are the networks that have weights.
    """
    if method == "mean" or mixed is not None:
        return []
    groups, folds = models_of(members).values(), len({member.fold for member in members})
    whole = sum(len(group) == folds for group in groups)
    return [
        Finding(
            severity="warning", code="not-combined", subject=f"ensemble.method={method}",
            what=f"The networks are averaged: {method} needs two candidates or seeds with a network for every fold.",
            evidence=f"{whole} of {len(groups)} {'has' if whole == 1 else 'have'} one for each of {folds} folds",
            remedy="Train all networks of two seeds at least (no --members); one that diverged needs a lower rate.",
        )
    ]  # fmt: skip


def record(found: Combined, prepared: Prepared, members: Sequence[Member]) -> dict[str, Any]:
    """What ``manifest.json`` keeps as ``ensemble``: who was combined how, and what that scores out of fold."""
    by_index = {member.index: member for member in members}
    firsts = [by_index[group[0]] for group in found.models]
    return {
        "method": found.method,
        "models": [
            {"candidate": m.candidate, "seed": m.seed, "choices": m.choices, "members": list(group)}
            for m, group in zip(firsts, found.models, strict=True)
        ],
        "combination": found.combination.to_dict(),
        "out_of_fold": score(prepared.schema.task, prepared.target[found.rows], found.prediction),
    }  # fmt: skip


def read_record(kept: dict[str, Any]) -> tuple[tuple[tuple[int, ...], ...], Combination]:
    """The models and the combination that ``record`` wrote."""
    return tuple(tuple(model["members"]) for model in kept["models"]), from_dict(kept["combination"])


def added(
    prepared: Prepared, rows: Rows, predictions: NDArray[Any], quantile: float | None = None
) -> list[float | None]:
    """What each of the averaged members adds: how much worse the headline score is without it (negative: better)."""
    task = prepared.schema.task
    if not 1 < len(predictions) <= MOST_LEFT_OUT:
        return [None] * len(predictions)
    metric, target = headline(task, quantile), prepared.target[rows]
    whole = score(task, target, predictions.mean(axis=0), quantile)[metric]
    sign = 1 if METRICS[metric].larger_is_better else -1
    return [sign * (whole - score(task, target, without, quantile)[metric]) for without in left_out(predictions)]
