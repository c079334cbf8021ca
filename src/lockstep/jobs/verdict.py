"""What a ranking shows, in sentences: no more than that, and each candidate in one of them."""

import math
from collections.abc import Mapping, Sequence

from lockstep.evaluation import Elsewhere, Ranked
from lockstep.report import format as fmt
from lockstep.spec.names import say

LIKELY = 0.8  # from this probability of being best on it is said where nothing is beyond chance
MOST_HINTS = 3


def verdict(
    ranked: Sequence[Ranked], labels: Sequence[str], metric: str, *, interrupted: bool = False, halved: int = 0,
    over: Sequence[str] | None = None,
) -> str:  # fmt: skip
    """What can be said of the ranking. Of one factor ``over`` are the others, over which it is averaged; so many more
    candidates were ``halved``."""
    best, others = ranked[0], ranked[1:]
    name = labels[best.place]
    failed = [one for one in others if not math.isfinite(one.mean)]
    broken = f" {len(failed)} had networks that went to NaN or infinity." if failed else ""
    left = [one for one in others if one not in failed]
    average = f"On average over {fmt.words(list(over))}, " if over else ""
    if not math.isfinite(best.mean):
        who = "Every candidate that trained to the end" if halved else "Every candidate"
        return f"{who} had networks that went to NaN or infinity, so none can be called the best."
    value = f"{fmt.metric_name(metric)} {fmt.score(metric, best.mean, digits(ranked, metric))}"
    if not others:
        text = f"{name} is the one candidate that trained to the end ({value})."
    elif not left:
        text = f"{average}{name} ({value}) is the only one whose networks all stayed finite."
    elif any(math.isnan(one.difference.low) for one in left):
        text = (
            f"{average}{name} has the best {value}; one network of each cannot tell that from chance. "
            "Give more folds or seeds."
        )
    elif any(one.worse for one in left):
        text = f"{average}{told_apart(name, value, left, labels)}"
    else:
        nothing = "no difference that this data can show"
        text = f"{average}{nothing}" if over else fmt.capital(nothing)
        text += f": {not_told_apart(name, value, best, left, labels)}"
    if interrupted:
        text += " The run was interrupted, so not all trained equally long."
    if halved:
        text += f" {halved} other{'s were' if halved > 1 else ' was'} left behind on the way, and not compared."
    return text + broken


def told_apart(name: str, value: str, others: Sequence[Ranked], labels: Sequence[str]) -> str:
    """The best, and who is worse, may be worse, or cannot be told from it."""
    worse = [one for one in others if one.worse]
    alone = [one for one in others if one.alone]
    alike = [one for one in others if not one.worse and not one.alone]
    if not alone and not alike:
        return f"{name} is best ({value}); {counted(worse, labels)} worse by more than chance."
    said = [f"{counted(worse, labels)} worse by more than chance"]
    if alone:
        said.append(f"{counted(alone, labels)} so only taken alone, not among {len(others)} differences together")
    if alike:
        said.append(f"{named(alike, labels)} cannot be told from it")
    return f"{name} has the best mean ({value}); {'; '.join(said)}."


def not_told_apart(name: str, value: str, best: Ranked, others: Sequence[Ranked], labels: Sequence[str]) -> str:
    """The best mean, and how near it comes to being shown."""
    text = f"{name} has the best mean ({value})"
    if best.probability_best >= LIKELY:
        text += f" and is the likeliest to be best ({100 * best.probability_best:.0f} %)"
    alone = [one for one in others if one.alone]
    if not alone:
        return f"{text}, and no other is worse by more than chance."
    among = f"and among {len(others)} differences together that can be chance"
    return f"{text}; {counted(alone, labels)} worse only taken alone, {among}."


def depends(others: Mapping[str, Sequence[Elsewhere]]) -> str:
    """Where another level is ahead of the one that is best on average: as a fact where beyond chance, else as a hint.

    ``others`` are the other factors by name.
    """
    text = ""
    for other, found in others.items():
        shown = [one for one in found if one.p_value < 0.05]
        hints = [one for one in found if one not in shown]
        if shown:
            ahead = "; ".join(f"with {say(one.at)}, {say(one.level)} is ahead of {say(one.than)}" for one in shown)
            text += f" But it depends on {other}, by more than chance: {ahead}."
        elif hints and len(hints) <= MOST_HINTS:
            ahead = fmt.words([f"{say(one.level)} with {say(one.at)}" for one in hints])
            text += f" By {other} the best mean varies, which can be chance: it is {ahead}."
        elif hints:
            text += f" With {len(hints)} values of {other} another has the best mean, which can be chance."
    return text


def named(some: Sequence[Ranked], labels: Sequence[str]) -> str:
    """``"gelu and tanh"``, ``"7 others"``."""
    return f"{len(some)} others" if len(some) > 3 else fmt.words([labels[one.place] for one in some])


def counted(some: Sequence[Ranked], labels: Sequence[str]) -> str:
    """``"gelu and tanh are"``, ``"7 others are"``."""
    return f"{named(some, labels)} {'is' if len(some) == 1 else 'are'}"


def digits(ranked: Sequence[Ranked], metric: str) -> int:
    """Decimals that tell the candidates apart, as far as their intervals support them."""
    widths = [one.difference.high - one.difference.low for one in ranked[1:]]
    known = sorted(width for width in widths if math.isfinite(width) and width > 0)
    return fmt.places_for(metric, 0.0, known[len(known) // 2] if known else None, ranked[0].mean)
