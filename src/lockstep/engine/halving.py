"""Successive halving: after which epochs candidates are ranked, and which of them go on.

One bracket of Hyperband (Jamieson and Talwalkar 2016; Li et al. 2018): of C candidates that could train for E epochs
the best 1/η go on after E/η^s, …, E/η² and E/η epochs, with s = ⌊log_η C⌋.
"""

from collections.abc import Iterable
from typing import NamedTuple

from lockstep.errors import SpecError


class Standing(NamedTuple):
    """Where a candidate stands; the smaller the better. ``score`` is the mean over its members, of which those that
    ``diverged`` count first; who is equal in both goes by number."""

    diverged: int
    score: float
    candidate: int


def rungs(candidates: int, epochs: int, eta: int) -> tuple[tuple[int, int], ...]:
    """(After which epoch, how many go on): from (⌊E/η^s⌋, ⌊C/η⌋) to (⌊E/η⌋, ⌊C/η^s⌋). Raises ``SpecError`` where there
    would be none."""
    if candidates < eta:
        raise SpecError(
            f"halve must be at most the number of candidates, however: halve={eta} with "
            f"{candidates} candidate{'s' if candidates > 1 else ''}. Vary more, or leave halve out."
        )
    halvings = count_of_halvings(candidates, eta)
    if epochs < eta**halvings:
        other = "leave halve out" if halvings == 1 else "give a larger halve, which makes fewer halvings"
        raise SpecError(
            f"epochs must be at least {eta**halvings} to halve {candidates} candidates "
            f"{'once' if halvings == 1 else f'{halvings} times'} with halve={eta}, however: {epochs}. "
            f"Train longer, or {other}."
        )
    return tuple((epochs // eta ** (halvings + 1 - i), candidates // eta**i) for i in range(1, halvings + 1))


def count_of_halvings(candidates: int, eta: int) -> int:
    """⌊log_η C⌋, in whole numbers."""
    count = 0
    while eta ** (count + 1) <= candidates:
        count += 1
    return count


def finalists(candidates: int, eta: int | None) -> int:
    """How many candidates train to the end: all where they are not halved."""
    return candidates if eta is None else candidates // eta ** count_of_halvings(candidates, eta)


def survivors(standings: Iterable[Standing], left: int) -> tuple[int, ...]:
    """The candidates that go on, the ``left`` best, the best first."""
    return tuple(one.candidate for one in sorted(standings)[:left])
