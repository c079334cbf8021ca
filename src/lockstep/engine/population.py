"""Who is trained: candidates × folds × seeds, each with the rows it trains and stops on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.engine.halving import rungs
from lockstep.errors import SpecError
from lockstep.network.losses import metric_name
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
    """All members, and the ``chosen`` ones, which are trained as they would be among all.

    ``rungs`` are the epochs after which candidates are ranked, each with the number of those that go on.
    """

    members: tuple[Member, ...]
    chosen: tuple[int, ...]
    rungs: tuple[tuple[int, int], ...] = ()

    @property
    def training(self) -> tuple[Member, ...]:
        return tuple(self.members[index] for index in self.chosen)

    @property
    def candidates(self) -> int:
        return len({member.candidate for member in self.members})

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
    if wanted.halve is None:
        return Population(members, chosen)
    found = halvings([concrete for _, concrete, _ in sizes], wanted.halve, judged=len(folds[0][1]) > 0)
    return Population(members, chosen, found if wanted.members is None else ())


def halvings(specs: Sequence[TrainSpec], eta: int, *, judged: bool) -> tuple[tuple[int, int], ...]:
    """The rungs of candidates of these specs, ``judged`` on validation rows. Raises ``SpecError`` where they cannot be
    ranked on the way: with unequal lengths, or measured by unequal things."""
    lengths = dict.fromkeys(spec.training.epochs for spec in specs)
    if len(lengths) > 1:
        raise SpecError(
            "halve needs one training.epochs for all candidates, however: "
            f"{' and '.join(map(str, lengths))}. Vary another setting, or leave halve out."
        )
    if len({measure(spec, judged=judged) for spec in specs}) > 1:
        raise SpecError(
            "halve ranks all candidates by one measure, however: they differ in the loss or in training.monitor. "
            "Set training.monitor=valid_metric where that is the same for all, or leave halve out."
        )
    return rungs(len(specs), next(iter(lengths)), eta)


def measure(spec: TrainSpec, *, judged: bool) -> object:
    """What the members of a candidate are monitored by, such that equal measures have equal units."""
    monitor = spec.training.monitor if judged else "train_loss"
    if monitor == "valid_metric" and (name := metric_name(spec.loss.name)):
        return name
    smoothed = monitor == "train_loss"  # validation goes without
    return monitor, spec.loss if smoothed else spec.loss.replace("label_smoothing", 0.0)


def bootstrapped(rows: Rows, seed: int) -> Rows:
    """As many of ``rows``, drawn with replacement: a pure function of the member's seed, whoever else trains."""
    stream = np.random.Generator(np.random.Philox(key=np.array([seed, 2**32], dtype=np.uint64)))  # epochs are below
    return np.sort(stream.choice(rows, len(rows)))
