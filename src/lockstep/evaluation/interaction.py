"""Whether what is best of one factor depends on another, from the cells that both make together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.evaluation.comparison import corrected_t_test, level_scores
from lockstep.evaluation.weighted import Floats


@dataclass(frozen=True)
class Elsewhere:
    """At level ``at`` of the other factor, ``level`` has a better mean than ``than``, the best on average, by ``gain``.

    ``p_value`` is that of the two differing there as they do on average at the other factor's other levels.
    """

    at: Any
    level: Any
    than: Any
    gain: float
    p_value: float


def elsewhere(
    scores: NDArray[Any],
    choices: Sequence[Mapping[str, Any]],
    path: str,
    other: str,
    *,
    larger_is_better: bool,
    test_over_train: float,
    grain: float = 0.0,
) -> list[Elsewhere]:
    """Where the best level of factor ``path`` is not the one that is best on average over the levels of ``other``.

    ``scores`` ``[C, F, S]`` and ``choices`` are those of ``level_scores``. The contrast of the two levels, here less
    its mean elsewhere, is tested on the same folds and seeds (``corrected_t_test``). Level and place were picked among
    all, so the p-value is multiplied by their number (Bonferroni). Nothing where a cell is missing or not finite.
    """
    cells = _cells(scores, choices, path, other)
    if cells is None:
        return []
    names, places, score_BLFS = cells
    means = score_BLFS.mean(axis=(2, 3)) * (1 if larger_is_better else -1)
    overall, best = int(means.mean(axis=0).argmax()), means.argmax(axis=1)
    tries = len(places) * (len(names) - 1)
    found = []
    for b in np.flatnonzero(means[np.arange(len(places)), best] > means[:, overall]):
        ahead = score_BLFS[:, best[b]] - score_BLFS[:, overall]
        contrast = ahead[b] - np.delete(ahead, b, axis=0).mean(axis=0)
        p_value = corrected_t_test(contrast, test_over_train=test_over_train, grain=grain).p_value
        gain = float(means[b, best[b]] - means[b, overall])
        found.append(Elsewhere(places[b], names[best[b]], names[overall], gain, min(1.0, tries * p_value)))
    return found


def _cells(
    scores: NDArray[Any], choices: Sequence[Mapping[str, Any]], path: str, other: str
) -> tuple[list[Any], list[Any], Floats] | None:
    """The levels ``L`` of ``path``, ``B`` of ``other``, and the mean scores ``[B, L, F, S]`` over all other factors."""
    if not all(path in chosen and other in chosen for chosen in choices):
        return None
    names = list(dict.fromkeys(chosen[path] for chosen in choices))
    places = list(dict.fromkeys(chosen[other] for chosen in choices))
    made = []
    for at in places:
        own = [place for place, chosen in enumerate(choices) if chosen[other] == at]
        levels, means, whole = level_scores(scores[own], [choices[place] for place in own], path)
        if not whole or set(levels) != set(names):
            return None
        made.append(means[[levels.index(name) for name in names]])
    cells = np.stack(made)
    return (names, places, cells) if len(places) > 1 and np.isfinite(cells).all() else None
