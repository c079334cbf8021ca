"""Who is trained: candidates × folds × seeds, each with the rows it trains and stops on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import SpecError
from lockstep.spec import TrainSpec, candidates

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One network of a population.

    ``choices`` are the values that set its candidate apart, by dotted path, and ``spec`` is the whole of it.
    ``train_rows`` and ``valid_rows`` index the resident data. An epoch is ``steps`` batches of ``batch_size`` rows.
    """

    index: int
    candidate: int
    fold: int
    seed: int
    choices: dict[str, Any]
    spec: TrainSpec
    train_rows: Rows
    valid_rows: Rows
    batch_size: int
    steps: int

    @property
    def all_steps(self) -> int:
        """The steps of its training, if that does not stop early."""
        return self.steps * self.spec.training.epochs

    @property
    def label(self) -> str:
        chosen = "".join(f", {path}={value}" for path, value in self.choices.items())
        return f"member {self.index} (fold {self.fold}, seed {self.seed}{chosen})"


@dataclass(frozen=True, eq=False)
class Population:
    """All members, and the ``chosen`` ones, which are trained as they would be among all."""

    members: tuple[Member, ...]
    chosen: tuple[int, ...]

    @property
    def training(self) -> tuple[Member, ...]:
        return tuple(self.members[index] for index in self.chosen)

    @property
    def identities(self) -> dict[int, tuple[int, int, int]]:
        """Each member's (candidate, fold, seed) by its index."""
        return {member.index: (member.candidate, member.fold, member.seed) for member in self.members}


def make_population(spec: TrainSpec, folds: Sequence[tuple[Rows, Rows]]) -> Population:
    """The population that ``spec`` asks for on the given (train rows, validation rows) folds.

    An epoch is as many full batches of the member's own size as the smallest of all folds holds; a batch is at most
    that fold.
    """
    wanted = spec.population
    smallest = min(len(train) for train, _ in folds)
    sizes = [(*chosen, min(chosen[1].training.batch_size, smallest)) for chosen in candidates(spec)]
    members = tuple(
        Member(
            index=index, candidate=candidate, fold=fold, seed=wanted.seed + seed,
            choices=choices, spec=concrete, valid_rows=valid, batch_size=size,
            train_rows=bootstrapped(train, wanted.seed + seed) if wanted.bagging else train,
            steps=smallest // size,
        )
        for index, (candidate, choices, concrete, size, fold, train, valid, seed) in enumerate(
            (candidate, choices, concrete, size, fold, train, valid, seed)
            for candidate, (choices, concrete, size) in enumerate(sizes)
            for fold, (train, valid) in enumerate(folds)
            for seed in range(wanted.seeds)
        )
    )  # fmt: skip
    chosen = tuple(range(len(members))) if wanted.members is None else wanted.members
    if wrong := [index for index in chosen if not 0 <= index < len(members)]:
        raise SpecError(
            f"members must be among 0 to {len(members) - 1} (candidates × folds × seeds), however: {wrong[0]}."
        )
    if not chosen or len(set(chosen)) != len(chosen):
        raise SpecError(f"members must name at least one member and none twice, however: {list(chosen)}.")
    return Population(members, chosen)


def bootstrapped(rows: Rows, seed: int) -> Rows:
    """As many of ``rows``, drawn with replacement: a pure function of the member's seed, whoever else trains."""
    stream = np.random.Generator(np.random.Philox(key=np.array([seed, 2**32], dtype=np.uint64)))  # epochs are below
    return np.sort(stream.choice(rows, len(rows)))
