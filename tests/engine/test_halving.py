"""Who goes on, and when: the arithmetic by itself, then a population that trains by it across its stacks."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lockstep.engine.halving import Standing, count_of_halvings, finalists, rungs, survivors
from lockstep.engine.loop import Problem
from lockstep.engine.memory import Needs
from lockstep.engine.plan import held_together
from lockstep.engine.population import Population as Members
from lockstep.engine.population import make_population
from lockstep.engine.records import EpochRecord, Rung
from lockstep.engine.step import Resident
from lockstep.engine.train import Trained, Way, make_modules, train_population
from lockstep.errors import SpecError
from lockstep.network.losses import LOSSES
from lockstep.spec import SGD, AdamW, Constant, Loss, Population, Training, TrainSpec, Vary

Rng = np.random.Generator
CPU = torch.device("cpu")

# -- the arithmetic


@pytest.mark.parametrize(
    ("candidates", "epochs", "eta", "expected"),
    [
        (27, 27, 3, ((1, 9), (3, 3), (9, 1))),
        (27, 100, 3, ((3, 9), (11, 3), (33, 1))),
        (8, 81, 3, ((27, 2),)),
        (81, 81, 3, ((1, 27), (3, 9), (9, 3), (27, 1))),  # the first bracket of Hyperband (Li et al. 2018), table 1
        (6, 12, 2, ((3, 3), (6, 1))),
        (27, 100, 9, ((11, 3),)),
    ],
)
def test_rungs_are_those_of_successive_halving(candidates: int, epochs: int, eta: int, expected: Any) -> None:
    assert rungs(candidates, epochs, eta) == expected


@given(candidates=st.integers(2, 300), epochs=st.integers(1, 300), eta=st.integers(2, 12))
def test_every_rung_is_later_than_the_last_and_lets_one_of_eta_go_on(candidates: int, epochs: int, eta: int) -> None:
    s = count_of_halvings(candidates, eta)
    assert eta**s <= candidates < eta ** (s + 1)
    assume(eta <= candidates)
    assume(epochs >= eta**s)
    found = rungs(candidates, epochs, eta)
    ends, left = zip(*found, strict=True)
    assert len(found) == s
    assert all(a < b for a, b in itertools.pairwise((0, *ends, epochs)))
    assert all(b == a // eta for a, b in itertools.pairwise((candidates, *left)))
    assert 1 <= left[-1] == finalists(candidates, eta) < eta


@pytest.mark.parametrize(
    ("candidates", "epochs", "eta", "message"),
    [
        (1, 100, 3, "halve must be at most the number of candidates, however: halve=3 with 1 candidate. Vary more"),
        (
            3,
            100,
            4,
            "halve must be at most the number of candidates, however: halve=4 with 3 candidates. Vary",
        ),
        (
            30,
            26,
            3,
            "epochs must be at least 27 to halve 30 candidates 3 times with halve=3, however: 26. Train longer, or "
            "give a larger halve",
        ),
        (
            3,
            1,
            2,
            "epochs must be at least 2 to halve 3 candidates once with halve=2, however: 1. Train longer, or leave "
            "halve out.",
        ),
    ],
)
def test_too_few_candidates_or_epochs_are_refused(candidates: int, epochs: int, eta: int, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        rungs(candidates, epochs, eta)


def test_all_are_finalists_where_none_is_halved() -> None:
    assert finalists(5, None) == 5


SCORES = st.lists(
    st.tuples(st.integers(0, 2), st.floats(-3, 3) | st.just(float("inf"))), min_size=1, max_size=20
)  # fmt: skip


@given(scores=SCORES, left=st.integers(1, 25), data=st.data())
def test_the_best_survive_in_whatever_order_they_come(scores: Any, left: int, data: st.DataObject) -> None:
    standings = [Standing(diverged, score, candidate) for candidate, (diverged, score) in enumerate(scores)]
    going = survivors(data.draw(st.permutations(standings)), left)
    assert len(going) == len(set(going)) == min(left, len(scores))
    assert going == survivors(standings, left)
    for other, candidate in itertools.product(set(range(len(scores))) - set(going), going):
        assert scores[other] > scores[candidate] or other > candidate, "of equals the first goes on"


def test_a_candidate_with_a_member_that_diverged_comes_after_all_without() -> None:
    assert survivors([Standing(1, -9.0, 0), Standing(0, 5.0, 1), Standing(2, 0.1, 2)], 2) == (1, 0)


# -- a population


class Case:
    """Candidates of two activations (two stacks) and several rates, two folds, one seed."""

    RATES = (1e-4, 1e-3, 1e-2, 1e-1)

    def __init__(
        self, rng: Rng, *, valid: bool = True, halve: int | None = 2, make: Callable[[], nn.Module] | None = None,
        rates: tuple[float, ...] = RATES, **training: Any,
    ) -> None:  # fmt: skip
        x = torch.from_numpy(rng.normal(size=(60, 3)))
        self.data = Resident((x,), x.sum(1) + 0.3 * torch.from_numpy(rng.normal(size=60)))
        self.rows = [(np.r_[0:20, 40:60], np.r_[20:40]), (np.r_[20:60], np.r_[0:20])]
        if not valid:
            self.rows = [(train, np.array([], dtype=np.int64)) for train, _ in self.rows]
        self.spec = TrainSpec(
            optimizer=Vary(SGD(lr=list(rates)), AdamW(lr=list(rates))),
            schedule=Constant(),
            training=Training(**{"epochs": 8, "batch_size": 8, "clip_norm": None} | training),
            population=Population(seeds=1, halve=halve),
        )
        self.make = make or (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
        self.ways: list[Way] | None = None
        self.records: list[EpochRecord] = []
        self.rungs: list[Rung] = []
        self.kept: list[dict[int, str]] = []

    def train(self, stop: Callable[[], bool] = lambda: False, **changes: Any) -> tuple[Members, Trained]:
        spec = self.spec
        for path, value in changes.items():
            spec = spec.replace(f"population.{path}", value)
        population = make_population(spec, self.rows)
        modules = make_modules(lambda _: self.make().double(), population.training)
        self.records, self.rungs, self.kept = [], [], []
        problem = Problem(self.data, LOSSES["mse"], "mse", {}, "eager")
        now: dict[int, str] = {}

        def keep(_: Any, members: Any, progress: Any) -> None:
            now.update({members[place].index: done.ended for place, done in progress.weights().items()})
            self.kept.append(dict(now))

        trained = train_population(
            population, modules, lambda _: problem, CPU, self.ways, observers=[self.records.append],
            at_rung=self.rungs.append, stop=stop, keep=keep, notice=lambda _: None,
        )  # fmt: skip
        return population, trained

    def expected(self, population: Members, rungs: Any, score: str = "valid_loss") -> list[list[int]]:
        """Who must go on at each rung, worked out from what an unhalved training recorded."""
        going, found = list(range(population.candidates)), []
        for epoch, left in rungs:
            best: dict[int, float] = {}
            for record in self.records:
                if record.epoch <= epoch:
                    for member, value in zip(record.members.tolist(), getattr(record, score), strict=True):
                        best[member] = min(best.get(member, np.inf), value) if score == "valid_loss" else value
            means = {
                c: np.mean([best[m.index] for m in population.members if m.candidate == c]) for c in going
            }  # fmt: skip
            going = sorted(going, key=lambda c: means[c])[:left]
            found.append(going)
        return found


def ended(population: Members, trained: Trained) -> dict[int, set[tuple[str, int]]]:
    """How the members of each candidate ended, and after how many epochs."""
    found: dict[int, set[tuple[str, int]]] = {}
    for member, done in zip(population.members, trained.finished, strict=True):
        found.setdefault(member.candidate, set()).add((done.ended, done.epochs))
    return found


def branching() -> Callable[[], nn.Module]:
    """Makes a network that ``vmap`` refuses, so that its members train one after another."""

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layer(x)
            return 2 * y if float(x.detach().sum()) > 0 else F.softplus(y)

    return Branching


@pytest.mark.parametrize(("how", "stacks"), [("whole", 2), ("in parts", 6), ("apart", 16)])
def test_candidates_are_ranked_across_stacks_by_their_members_best_so_far(rng: Rng, how: str, stacks: int) -> None:
    case = Case(rng, make=branching() if how == "apart" else None)
    case.ways = [Way("eager", "float32", 3)] * 2 if how == "in parts" else None
    population, _ = case.train(halve=None)
    assert not case.rungs
    rungs = ((1, 4), (2, 2), (4, 1))
    expected = case.expected(population, rungs)
    population, trained = case.train()
    assert population.rungs == rungs
    assert len(trained.stacks) == stacks
    assert [list(rung.going) for rung in case.rungs] == expected
    assert [(rung.epoch, rung.candidates) for rung in case.rungs] == [(1, 8), (2, 4), (4, 2)]
    ends = ended(population, trained)
    assert ends[expected[-1][0]] == {("finished", 8)}
    left = {c: epoch for (epoch, _), after in zip(reversed(rungs), reversed(expected), strict=True)
            for c in range(8) if c not in after}  # fmt: skip
    assert trained.left_behind == left
    assert {c: how for c, how in ends.items() if c in left} == {c: {("halved", epoch)} for c, epoch in left.items()}
    for record in case.records:
        candidates = {population.members[index].candidate for index in record.members.tolist()}
        before = [going for (epoch, _), going in zip(rungs, expected, strict=True) if epoch < record.epoch]
        assert candidates <= set(before[-1] if before else range(8))


def test_the_members_that_a_rung_ends_are_told_and_keep_their_best_weights(rng: Rng) -> None:
    case = Case(rng)
    population, trained = case.train()
    told = {index: reason for rung in case.rungs for index, reason in rung.ended.items()}
    assert told == {index: reason for index, reason in trained.ended.items() if reason == "halved"}
    assert len(told) == 14
    best = {}
    for record in case.records:
        for member, loss in zip(record.members.tolist(), record.valid_loss, strict=True):
            best[member] = min(best.get(member, np.inf), loss)
    for position, (member, done) in enumerate(zip(population.members, trained.finished, strict=True)):
        assert done.monitor == pytest.approx(best[member.index], rel=1e-12)
        x, y = (part[member.valid_rows] for part in (case.data.inputs[0], case.data.targets))
        with torch.no_grad():
            loss = (trained.module(position)(x)[:, 0] - y).square().mean()
        assert float(loss) == pytest.approx(best[member.index], rel=1e-12)


def test_stacks_are_told_by_their_number_and_their_time_goes_on(rng: Rng) -> None:
    case = Case(rng)
    case.train()
    assert [record.stack for record in case.records[:2]] == [1, 2]
    assert {record.stacks for record in case.records} == {2}
    for stack in (1, 2):
        own = [record for record in case.records if record.stack == stack]
        assert [record.epoch for record in own] == list(range(1, len(own) + 1))
        assert all(b.elapsed > a.elapsed for a, b in itertools.pairwise(own))


def test_without_validation_rows_the_training_loss_ranks(rng: Rng) -> None:
    case = Case(rng, valid=False)
    population, _ = case.train(halve=None)
    expected = case.expected(population, ((1, 4), (2, 2), (4, 1)), "train_loss")
    case.train()
    assert [list(rung.going) for rung in case.rungs] == expected


def test_what_has_stopped_early_counts_with_its_best_and_is_not_called_halved(rng: Rng) -> None:
    case = Case(rng, epochs=60, patience=1, rates=(1e-2, 3e-1, 5e-1))
    population, _ = case.train(halve=None)
    expected = case.expected(population, ((15, 3), (30, 1)))
    population, trained = case.train()
    assert [list(rung.going) for rung in case.rungs] == expected
    ends = {done.ended for done in trained.finished}
    assert "stopped early" in ends
    for member, done in zip(population.members, trained.finished, strict=True):
        if done.ended == "halved":
            assert done.epochs in (15, 30)
            assert member.candidate not in expected[-1]
        elif done.ended == "stopped early":
            assert done.epochs - done.best_epoch == 1


def test_a_member_that_diverged_makes_its_candidate_the_worst(rng: Rng) -> None:
    case = Case(rng, rates=(1e300, 1e-3))
    _, trained = case.train()
    assert set(case.rungs[0].going) == {1, 3}
    assert {trained.ended[index] for index in (0, 1, 4, 5)} == {"diverged"}
    assert set(trained.left_behind) == {1, 3} - set(case.rungs[1].going), "what diverged has ended by itself"


def test_named_members_train_to_the_end(rng: Rng) -> None:
    case = Case(rng)
    population, trained = case.train(members=(0, 7))
    assert population.rungs == ()
    assert not case.rungs
    assert [done.ended for done in trained.finished] == ["finished", "finished"]


def after(calls: int) -> Callable[[], bool]:
    asked = iter(range(10**9))
    return lambda: next(asked) >= calls


@pytest.mark.parametrize(("calls", "rungs", "reached"), [(3, 0, 1), (5, 0, 1), (12, 1, 2)])
def test_a_wish_to_stop_ends_all_that_train_and_halves_no_more(rng: Rng, calls: int, rungs: int, reached: int) -> None:
    case = Case(rng)
    population, trained = case.train(after(calls))  # an epoch is 5 steps, and a rung asks once
    assert population.members[0].steps == 5
    assert len(case.rungs) == rungs
    counts = [done.ended for done in trained.finished]
    assert set(counts) == ({"interrupted"} if rungs == 0 else {"interrupted", "halved"})
    assert counts.count("halved") == 8 * rungs
    assert max(done.epochs for done in trained.finished) == reached
    assert any(done.best_epoch for done in trained.finished)


def test_what_is_kept_after_any_epoch_holds_every_member_that_has_begun(rng: Rng) -> None:
    case = Case(rng)
    case.train()
    for record, kept in zip(case.records, case.kept, strict=True):
        assert set(record.members.tolist()) <= set(kept)
    assert len(case.kept[-1]) == 16


def test_while_a_stack_trains_all_that_the_networks_of_every_stack_hold_counts(rng: Rng) -> None:
    one, two = (Needs(*rng.integers(1, 1000, 5).tolist()) for _ in range(2))
    halved_one, none, halved_two = held_together([one, None, two], [3, 9, 5])
    assert none is None
    assert halved_one is not None
    assert halved_two is not None
    for at_once in (1, 2, 3):
        busy = max(one.passing * at_once, one.judging)
        everything = one.shared + 3 * (one.kept + one.holds) + 5 * two.holds + busy
        assert halved_one.of(at_once, 3) == everything
    assert halved_two.of(5, 5) == two.of(5, 5) + 3 * one.holds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.epochs": Vary(8, 16)}, "halve needs one training.epochs for all candidates, however: 8 and 16."),
        ({"training.monitor": Vary("valid_loss", "train_loss")}, "halve ranks all candidates by one measure, however"),
        ({"loss.delta": Vary(1.0, 2.0)}, "halve ranks all candidates by one measure, however: they differ"),
        (
            {"loss": Vary(Loss(name="mse"), Loss(name="mae"))},
            "Set training.monitor=valid_metric where that is",
        ),
        (
            {"loss": Vary(Loss(name="mse"), Loss(name="mae")), "training.monitor": "valid_metric"},
            "halve ranks all candidates by one measure",
        ),
        ({"training.epochs": 7}, "epochs must be at least 8 to halve 8 candidates 3 times with halve=2, however: 7."),
        (
            {"population.halve": 9},
            "halve must be at most the number of candidates, however: halve=9 with 8 cand",
        ),
    ],
)
def test_what_cannot_be_ranked_on_the_way_is_refused(rng: Rng, changes: dict[str, Any], message: str) -> None:
    case = Case(rng)
    for path, value in changes.items():
        case.spec = case.spec.replace(path, value)
    with pytest.raises(SpecError, match=re.escape(message)):
        make_population(case.spec, case.rows)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss.label_smoothing": Vary(0.0, 0.1)},
        {"loss": Vary(Loss(name="huber"), Loss(name="mae")), "training.monitor": "valid_metric"},
        {"training.batch_size": Vary(8, 16)},
    ],
)
def test_what_differs_and_is_measured_alike_is_halved(rng: Rng, changes: dict[str, Any]) -> None:
    case = Case(rng, epochs=16)
    for path, value in changes.items():
        case.spec = case.spec.replace(path, value)
    assert make_population(case.spec, case.rows).rungs == ((1, 8), (2, 4), (4, 2), (8, 1))


def test_label_smoothing_is_in_the_loss_that_is_trained_on_and_so_cannot_be_ranked_by_it(rng: Rng) -> None:
    case = Case(rng, valid=False, epochs=16)
    with pytest.raises(SpecError, match="halve ranks all candidates by one measure"):
        make_population(case.spec.replace("loss.label_smoothing", Vary(0.0, 0.1)), case.rows)
