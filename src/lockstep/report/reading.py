"""What the numbers say, in sentences: each function reads one thing and stays silent where there is nothing to say.

Every sentence must be true of the numbers it was read from, and no stronger than they are.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from lockstep.report import format as fmt

Tone = Literal["good", "note", "caution"]
Json = dict[str, Any]


@dataclass(frozen=True)
class Remark:
    """One thing read off the numbers. ``tone`` says how it is coloured."""

    tone: Tone
    text: str


def is_better(metric: str, a: float, b: float) -> bool:
    """Whether ``a`` is the better value of the metric."""
    return a < b if metric in fmt.LOWER_IS_BETTER else a > b


def against_baseline(metric: str, estimate: Json, baseline: float | None, what: str) -> Remark | None:
    """Whether the interval excludes what a trivial rule scores on the same rows."""
    low, high, value = (fmt.finite(estimate.get(key)) for key in ("low", "high", "value"))
    if baseline is None or value is None:
        return None
    places = fmt.places_for(metric, low, high, value)
    base = f"baseline of {fmt.score(metric, baseline, places)}" + (f" ({what})" if what else "")
    name = fmt.metric_name(metric)
    if low is None or high is None:
        verb = "beats" if is_better(metric, value, baseline) else "does not beat"
        return Remark("note", f"The {name} {verb} the {base}; without an interval, chance is not excluded.")
    worst = high if metric in fmt.LOWER_IS_BETTER else low
    best = low if metric in fmt.LOWER_IS_BETTER else high
    if is_better(metric, worst, baseline):
        text = f"The whole interval of the {name} is better than the {base}: the networks have learned something real."
        return Remark("good", text)
    if is_better(metric, baseline, best):
        return Remark("caution", f"The whole interval of the {name} is worse than the {base}. Do not use this model.")
    text = f"The interval of the {name} includes the {base}: that does not show that the networks learned anything."
    return Remark("caution", text)


def averaging(metric: str, ensemble: float | None, members: list[float], rows: str) -> Remark | None:
    """How the ensemble compares with its own members on the same rows."""
    if ensemble is None or len(members) < 2:
        return None
    mean = sum(members) / len(members)
    places = max(3, fmt.places_for(metric, min(members), max(members), mean)) if metric in fmt.SHARES else None
    beaten = sum(is_better(metric, ensemble, m) for m in members)
    text = (
        f"Averaged, the networks score {fmt.score(metric, ensemble, places)} on the {rows}; one alone scores"
        f" {fmt.score(metric, mean, places)} on average"
    )
    if beaten == len(members):
        return Remark("good", f"{text}, and none of them as well as all together.")
    if is_better(metric, ensemble, mean):
        return Remark("good", f"{text}. {fmt.count(beaten)} of {len(members)} score worse alone.")
    return Remark("note", f"{text}: averaging did not help here.")


@dataclass(frozen=True, kw_only=True)
class Path:
    """One member's way through training: losses by epoch (oldest first, finite), its best epoch and how it ended."""

    valid: tuple[float, ...]
    train: tuple[float, ...]
    best_epoch: int
    epochs: int
    planned: int


def still_improving(paths: list[Path]) -> Remark | None:
    """Whether members were still getting better when the run's length ended them.

    One counts if it trained to the end, was best in the last twentieth of the epochs, and its mean validation loss
    over the last tenth lies at least 1 % below that over the tenth before.
    """
    judged = [p for p in paths if len(p.valid) >= 5]
    rising = [p for p in judged if p.epochs >= p.planned and p.best_epoch > 0.95 * p.planned - 1 and _drops(p.valid)]
    if not judged or 2 * len(rising) < len(judged):
        return None
    planned = max(p.planned for p in rising)
    who = "The network was" if len(judged) == 1 else f"{len(rising)} of {len(judged)} networks were"
    text = f"{who} still improving when epoch {planned} ended the run. Train longer: --epochs {2 * planned}."
    return Remark("caution", text)


def _drops(valid: tuple[float, ...]) -> bool:
    tenth = max(1, len(valid) // 10)
    late, before = valid[-tenth:], valid[-2 * tenth : -tenth]
    a, b = sum(late) / len(late), sum(before) / len(before)
    return b - a >= 0.01 * abs(b)


def overfitting(paths: list[Path]) -> Remark | None:
    """Whether validation loss rose after its best by more than 5 % while training loss went on falling."""
    judged = [p for p in paths if 1 <= p.best_epoch < len(p.valid) and len(p.train) == len(p.valid)]
    turned = [p for p in judged if p.train[-1] < p.train[p.best_epoch - 1] and p.valid[p.best_epoch - 1] > 0]
    rises = sorted(p.valid[-1] / p.valid[p.best_epoch - 1] - 1 for p in turned)
    if not rises or 2 * len(rises) < len(paths) or rises[len(rises) // 2] <= 0.05:
        return None
    rise = fmt.percent(rises[len(rises) // 2])
    text = (
        f"After the best epoch validation loss rose (by {rise} for the median network) while training loss fell:"
        " the networks began to learn their training data by heart. The weights of the best epoch are the ones kept."
    )
    return Remark("note", text)


def loss_gap(paths: list[Path]) -> Remark | None:
    """Training against validation loss at the best epoch, medians over members."""
    at = [(p.train[p.best_epoch - 1], p.valid[p.best_epoch - 1]) for p in paths if 1 <= p.best_epoch <= len(p.valid)]
    at = [(train, valid) for train, valid in at if train > 0 and valid > 0]
    if not at:
        return None
    train = sorted(t for t, _ in at)[len(at) // 2]
    valid = sorted(v for _, v in at)[len(at) // 2]
    where = f"At the best epoch training loss is {fmt.number(train, 3)} and validation loss {fmt.number(valid, 3)}"
    if valid > 1.5 * train:
        text = f"{where}, {fmt.number(valid / train, 2)} times as much: more dropout, weight decay or data may help."
        return Remark("caution", text)
    if valid < train:
        return Remark(
            "note",
            f"{where}. Training loss is measured while the networks still learn, "
            "and with dropout at work where there is any: so validation may be the lower one.",
        )
    if valid > 1.15 * train:
        more = fmt.percent(valid / train - 1)
        return Remark("note", f"{where}, {more} more: the networks fit what they trained on better than what is new.")
    return Remark("good", f"{where}: the networks fit what is new about as well as what they trained on.")


def endings(members: list[Json]) -> list[Remark]:
    """Members that went wrong, and how many stopped early."""
    reasons = [str(m.get("ended") or "") for m in members]
    broken = [r for r in reasons if any(word in r.lower() for word in ("nan", "diverg", "finite", "infinite"))]
    remarks = []
    if broken:
        of = f"{len(broken)} of {fmt.plural(len(members), 'network')}"
        remarks.append(Remark("caution", f"{of} went wrong ({broken[0]}). A lower learning rate usually helps."))
    return remarks


def calibration(curve: Json | None) -> Remark | None:
    """How far the probabilities can be taken at their word."""
    if not curve or not curve.get("bins"):
        return None
    bins = [b for b in curve["bins"] if fmt.finite(b.get("predicted")) is not None and b.get("count")]
    error = fmt.finite(curve.get("error"))
    off = [b for b in bins if not (_or(b.get("low"), 0) <= b["predicted"] <= _or(b.get("high"), 1))]
    if error is None or not bins:
        return None
    said = f"Predicted probabilities differ from observed shares by {fmt.percent(error, 1)} on average"
    if not off:
        said = f"{said}, and every interval includes the predicted probability"
        if error < 0.05:
            return Remark("good", f"{said}: take them at their word.")
        return Remark("note", f"{said}: no sign that they mislead, but so few rows would show only a large one.")
    where = f"{said}; in {len(off)} of {fmt.plural(len(bins), 'bin')} the interval excludes the predicted probability"
    if len(off) == 1 and len(bins) >= 5:  # at 95 %, ten exact bins show at least one such bin in 40 % of cases
        return Remark("note", f"{where}, as chance alone often has it.")
    tone: Tone = "good" if error < 0.02 else "note" if error < 0.05 else "caution"
    return Remark(tone, f"{where}.")


def _or(value: Any, other: float) -> float:
    number = fmt.finite(value)
    return other if number is None else number


def importance(table: Json | None, part: str = "column") -> Remark | None:
    """Which inputs matter beyond noise: those whose interval lies above zero."""
    features = [f for f in (table or {}).get("features") or [] if fmt.finite(f.get("mean")) is not None]
    if not features or not table:
        return None
    ranked = sorted(features, key=lambda f: -f["mean"])
    real = [f for f in ranked if _or(f.get("low"), 0) > 0]
    if not real:
        return Remark("caution", f"No single {part} matters beyond the noise of shuffling.")
    noise = len(features) - len(real)
    metric = str(table.get("metric") or "score")
    first = real[0]
    moves = "raises" if metric in fmt.LOWER_IS_BETTER else "lowers"
    size = fmt.score(metric, first["mean"]) if metric in fmt.SHARES else fmt.number(first["mean"], 3)
    change = f"{moves} the {fmt.metric_name(metric)} by {size}"
    text = f"Shuffling {first['name']} costs most: it {change}"
    if len(real) > 1:
        others = [str(f["name"]) for f in real[1:3]]
        text += f"; then {'come' if len(others) > 1 else 'comes'} {fmt.words(others)}"
    if noise:
        text += f". {fmt.plural(noise, part)} of {len(features)} cannot be told from noise"
    return Remark("note", f"{text}.")


@dataclass(frozen=True)
class Confusion:
    """``n`` rows of class ``actual``, a ``share`` of its rows, were taken for ``predicted``."""

    actual: str
    predicted: str
    n: int
    share: float


def confusions(classes: list[str], counts: list[list[int]]) -> list[Confusion]:
    """Every kind of mistake, the most frequent first."""
    found = [
        Confusion(classes[i], classes[j], n, n / sum(row))
        for i, row in enumerate(counts)
        for j, n in enumerate(row)
        if i != j and n
    ]
    return sorted(found, key=lambda c: (-c.n, c.actual, c.predicted))


@dataclass(frozen=True)
class ClassScore:
    """One class: rows that belong to it, and precision, recall and F1 (None where undefined)."""

    name: str
    rows: int
    precision: float | None
    recall: float | None
    f1: float | None


def class_scores(classes: list[str], counts: list[list[int]]) -> list[ClassScore]:
    """Precision, recall and F1 of each class, from the confusion matrix (rows actual, columns predicted)."""
    scores = []
    for i, name in enumerate(classes):
        hit, rows, given = counts[i][i], sum(counts[i]), sum(row[i] for row in counts)
        precision = hit / given if given else None
        recall = hit / rows if rows else None
        f1 = 2 * hit / (rows + given) if rows + given else None
        scores.append(ClassScore(name, rows, precision, recall, f1))
    return scores


def confusion(classes: list[str], counts: list[list[int]]) -> list[Remark]:
    """The class that is found worst, and the mistake made most often."""
    remarks = []
    scores = [s for s in class_scores(classes, counts) if s.recall is not None and s.rows >= 10]
    mistakes = confusions(classes, counts)
    wrong = sum(m.n for m in mistakes)
    if not wrong:
        return [Remark("good", "No row was given the wrong class.")] if counts else []
    top = mistakes[0]
    if top.n >= 3:
        part = f"{fmt.plural(top.n, 'row')}, {fmt.percent(top.share)} of the rows of {top.actual}"
        text = f"The most frequent mistake is {top.actual} taken for {top.predicted} ({part})."
        remarks.append(Remark("note", text))
    if len(scores) > 1:
        worst = min(scores, key=lambda s: s.recall or 0)
        best = max(scores, key=lambda s: s.recall or 0)
        if (best.recall or 0) - (worst.recall or 0) > 0.1:
            tone: Tone = "caution" if (worst.recall or 0) < 0.5 else "note"
            found = [f"{fmt.percent(s.recall)} of the rows of {s.name}" for s in (worst, best)]
            text = f"The model finds {found[0]}, but {found[1]}."
            remarks.append(Remark(tone, text))
    return remarks


def coverage(estimate: Json, quantile: float | None) -> Remark | None:
    """Whether as many targets lie at or below the predictions as the ``quantile`` that was asked for says."""
    value, low, high = (fmt.finite(estimate.get(key)) for key in ("value", "low", "high"))
    if value is None or quantile is None:
        return None
    text = f"{fmt.percent(value)} of the targets lie at or below the prediction; {fmt.percent(quantile)} were asked for"
    if low is None or high is None:
        return Remark("note", f"{text}.")
    if low <= quantile <= high:
        return Remark("good", f"{text}, which is within the interval.")
    side = "low" if value < quantile else "high"
    return Remark("caution", f"{text}, which is outside the interval: the predictions are too {side}.")


def residuals(points: list[Json], quantile: float | None = None) -> list[Remark]:
    """Whether predictions are off to one side, and by how much they usually miss.

    Those of a ``quantile`` other than the median are off to one side on purpose.
    """
    errors = sorted(p["predicted"] - p["actual"] for p in points)
    n = len(errors)
    if n < 20:
        return []
    mean = sum(errors) / n
    spread = (sum((e - mean) ** 2 for e in errors) / (n - 1)) ** 0.5
    sizes = sorted(abs(e) for e in errors)
    half, nine = fmt.number(sizes[n // 2], 3), fmt.number(sizes[int(0.9 * n)], 3)
    remarks = [Remark("note", f"Half of the predictions miss by less than {half}, nine of ten by less than {nine}.")]
    if quantile in (None, 0.5) and abs(mean) > 2 * spread / n**0.5:
        side = "high" if mean > 0 else "low"
        remarks.append(Remark("note", f"Predictions are {fmt.number(abs(mean), 3)} too {side} on average."))
    actual = sorted(p["actual"] for p in points)
    top = actual[-1]
    capped = sum(a == top for a in actual) / n
    if capped > 0.02 and any(b > a for a, b in pairwise(actual)):
        text = f"{fmt.percent(capped)} of the rows have the largest target, {fmt.number(top, 6)}: it may be a cap."
        remarks.append(Remark("note", text))
    return remarks


def clipping(norms: list[float | None], bound: float | None) -> Remark | None:
    """How often the mean gradient norm of an epoch exceeded the clip norm. ``norms``: one per member and epoch."""
    known = [n for n in norms if n is not None]
    if bound is None or not known:
        return None
    share = sum(n > bound for n in known) / len(known)
    where = f"above the clip norm of {fmt.number(bound)}"
    if share == 0:
        return Remark("note", f"The mean gradient norm of an epoch was never {where}: clipping hardly acted.")
    if share > 0.9:
        return Remark(
            "note", f"The mean gradient norm was {where} in {fmt.percent(share)} of the epochs: clipping rules."
        )
    return Remark("note", f"The mean gradient norm was {where} in {fmt.percent(share)} of the epochs.")
