"""How the candidates of a run compare: ranked on the same folds and seeds, with what the data can and cannot show."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.engine.population import Member, Population
from lockstep.engine.train import Trained
from lockstep.evaluation import LOSS, METRICS, Metric, Ranked, elsewhere, headline, level_scores, rank
from lockstep.jobs.verdict import depends, verdict
from lockstep.network.losses import metric_name
from lockstep.report import format as fmt
from lockstep.spec import Task, Training
from lockstep.spec.names import say, short

HALVED = (
    " Candidates were left behind by successive halving (Jamieson and Talwalkar 2016), on the score that they had at "
    "that epoch: it cannot be set against what others have after more."
)
Json = dict[str, Any]
Scores = Mapping[int, Mapping[str, float]]


def comparison(
    population: Population, trained: Trained, scores: Scores, task: Task, loss: str, seconds: float,
    quantile: float | None = None,
) -> Json | None:  # fmt: skip
    """The content of ``comparison.json``; None where no two candidates were trained on all folds and seeds.

    ``scores`` are the out-of-fold metrics of each network that has weights, by its number; ``loss`` is what the
    networks minimise. Candidates that were halved are listed apart, unranked, for they were measured at another epoch.
    """
    complete, behind = whole_candidates(population, trained), halved(population, trained, loss)
    if not complete or len(complete) + len(behind) < 2:
        return None
    metric = METRICS[headline(task, quantile)]
    values, losses = (grid(population, scores, name)[complete] for name in (metric.name, LOSS[task]))
    first = [member for member in population.members if identity(member) == identity(population.members[0])]
    valid, train = (
        np.array([len(rows) for rows in side])
        for side in zip(*((m.valid_rows, m.train_rows) for m in population.members), strict=True)
    )
    interrupted = any(done.ended == "interrupted" for done in trained.finished)
    return compared(
        values, [first[candidate].choices for candidate in complete], metric, candidates=complete,
        ties=losses.mean(axis=(1, 2)), test_over_train=float(np.mean(valid / train)),
        grain=float(1 / valid.mean()) if metric.name == "accuracy" else 0.0, interrupted=interrupted, halved=behind,
    ) | {
        "left_out": population.candidates - len(complete) - len(behind),
        "networks": len(trained.members), "stacks": len(trained.stacks), "seconds": seconds,
    }  # fmt: skip


def compared(
    values: NDArray[np.float64], choices: Sequence[Mapping[str, Any]], metric: Metric, *, candidates: Sequence[int],
    ties: NDArray[np.float64] | None = None, interrupted: bool = False, halved: Sequence[Json] = (), **how: float,
) -> Json:  # fmt: skip
    """What the scores ``[C, F, S]`` of the candidates say; ``how`` are the numbers that ``rank`` takes.

    Of ``halved`` candidates no more is said than that. Settings are then not judged one by one: what is left of the
    others at each of their values was chosen by how it does.
    """
    better = metric.larger_is_better
    ranked = rank(values, larger_is_better=better, ties=ties, **how)
    labels, over = [label(chosen) for chosen in choices], ranked[0].difference.over
    table = [
        {
            "rank": place + 1, "candidate": candidates[one.place], "label": labels[one.place],
            "choices": plain(choices[one.place]), **said(one, among=len(ranked)),
            "std": spread(values[one.place]), "scores": values[one.place].tolist(),
            "failed": int((~np.isfinite(values[one.place])).sum()),
        }
        for place, one in enumerate(ranked)
    ]  # fmt: skip
    return {
        "metric": metric.name, "larger_is_better": better, "rows": "out-of-fold",
        "folds": values.shape[1], "seeds": values.shape[2], "over": over,
        "winner": table[0]["candidate"] if math.isfinite(ranked[0].mean) else None, "label": table[0]["label"],
        "verdict": verdict(ranked, labels, metric.name, interrupted=interrupted, halved=len(halved)),
        "caution": caution(metric.name, len(table) + len(halved)),
        "how": (explanation(over, values.shape, len(ranked) - 1) + (HALVED if halved else "")).strip(),
        "candidates": table, "halved": list(halved),
        "factors": [] if halved else [
            factor(path, values, choices, {"larger_is_better": better, **how}, metric.name) for path in paths(choices)
        ],
    }  # fmt: skip


def identity(member: Member) -> tuple[int, int]:
    return (member.fold, member.seed)


def whole_candidates(population: Population, trained: Trained) -> list[int]:
    """The candidates of which every network was trained: not those of a few ``members``, that were halved, or after an
    interruption."""
    done = {
        member.index
        for member, end in zip(trained.members, trained.finished, strict=True)
        if end.best_epoch > 0 or end.ended != "interrupted"
    }
    missing = {member.candidate for member in population.members if member.index not in done}
    return sorted({member.candidate for member in population.members} - missing - set(trained.left_behind))


def halved(population: Population, trained: Trained, loss: str) -> list[Json]:
    """The candidates that did not go on: after which epoch, by what measure, and what they then had, the last and best
    first."""
    measure, sign = measured_by(population.members[0].spec.training, loss)
    found = []
    for candidate, epoch in trained.left_behind.items():
        own = [place for place, member in enumerate(trained.members) if member.candidate == candidate]
        broken = any(trained.finished[place].ended == "diverged" for place in own)
        score = fmean(trained.finished[place].monitor for place in own)
        chosen = trained.members[own[0]].choices
        found.append((-epoch, broken, score, candidate, {
            "candidate": candidate, "label": label(chosen), "choices": plain(chosen), "epoch": epoch,
            "measure": measure, "score": None if broken else sign * score,
        }))  # fmt: skip
    return [one for *_, one in sorted(found, key=lambda one: one[:4])]


def measured_by(training: Training, loss: str) -> tuple[str, int]:
    """What is monitored, in words, and the sign that it is monitored with."""
    match training.monitor:
        case "train_loss":
            return "training loss", 1
        case "valid_metric":
            metric = metric_name(loss)
            return f"validation {fmt.metric_name(metric)}", -1 if metric == "accuracy" else 1
    return "validation loss", 1


def grid(population: Population, scores: Scores, metric: str) -> NDArray[np.float64]:
    """One metric as ``[C, F, S]``, NaN for a network without weights."""
    sizes = [len({getattr(member, axis) for member in population.members}) for axis in ("candidate", "fold", "seed")]
    flat = [scores[m.index][metric] if m.index in scores else math.nan for m in population.members]
    return np.array(flat, dtype=np.float64).reshape(sizes)


def paths(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that differ between candidates."""
    found = dict.fromkeys(path for chosen in choices for path in chosen)
    return [path for path in found if len({chosen[path] for chosen in choices if path in chosen}) > 1]


def label(choices: Mapping[str, Any]) -> str:
    """``"gelu + adamw"``: names speak for themselves, numbers say of what they are."""
    return " + ".join(
        say(value) if isinstance(value, str) else f"{path.rpartition('.')[2]} {say(value)}"
        for path, value in choices.items()
    )


def plain(choices: Mapping[str, Any]) -> Json:
    return {path: list(value) if isinstance(value, tuple) else value for path, value in choices.items()}


def said(one: Ranked, among: int) -> Json:
    """A rank ``among`` so many in plain data; the difference is to the best."""
    difference = one.difference
    return {
        "mean": one.mean, "difference": difference.mean, "low": difference.low, "high": difference.high,
        "p_value": difference.p_value, "p_holm": one.p_holm, "worse": one.worse, "alone": one.alone,
        "probability_best": one.probability_best if among > 1 else None,
    }  # fmt: skip


def spread(scores: NDArray[np.float64]) -> float | None:
    return float(scores.std(ddof=1)) if scores.size > 1 else None


def factor(
    path: str, scores: NDArray[np.float64], choices: Sequence[Mapping[str, Any]], how: Json, metric: str
) -> Json:
    """What one setting makes of it, over all values of the others, and where it depends on one of them."""
    levels, means, balanced = level_scores(scores, choices, path)
    others = {short(other): elsewhere(scores, choices, path, other, **how) for other in paths(choices) if other != path}
    ranked = rank(means, **how)
    names = [say(level) for level in levels]
    return {
        "path": path, "name": short(path),
        "numeric": all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels),
        "balanced": balanced,
        "levels": [
            {"level": names[one.place], "value": plain({path: levels[one.place]})[path], **said(one, among=len(ranked)),
             "scores": means[one.place].tolist()}
            for one in ranked
        ],
        "depends": [
            {"on": other, "at": say(one.at), "level": say(one.level), "than": say(one.than), "gain": one.gain,
             "p_value": one.p_value}
            for other, found in others.items()
            for one in found
        ],
        "verdict": verdict(ranked, names, metric, over=list(others)) + depends(others),
    }  # fmt: skip


def caution(metric: str, count: int) -> str:
    return (
        f"The out-of-fold {fmt.metric_name(metric)} of the best of {count} flatters, for it was chosen by it; "
        "a score on test rows, where there are some, does not."
    )


def explanation(over: str, shape: tuple[int, ...], differences: int) -> str:
    """How differences and probabilities were come by, in a line."""
    _, folds, seeds = shape
    if differences == 0:
        return ""
    paired = f"Paired over {folds} folds" + (f" (each the mean of {seeds} seeds)" if seeds > 1 else "")
    if over == "seeds":
        paired = f"Paired over {seeds} seeds on one split, so it holds for these validation rows"
    corrected = " with the correction for overlapping training rows (Nadeau and Bengio 2003)" if over == "folds" else ""
    together = f" Called worse is what stays below .05 by Holm's correction for {differences} differences."
    return (
        f"{paired}; 95 % intervals by the t-test{corrected}, each by itself; probability of being best from the "
        f"correlated Bayesian t-test (Corani and Benavoli 2015).{together if differences > 1 else ''}"
    )
