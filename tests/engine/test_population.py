"""Who is trained, and on which rows: keyed, so that nobody depends on who else is there."""

import numpy as np
import pytest

from lockstep.engine.population import Population as Everybody
from lockstep.engine.population import Rows, bootstrapped, make_population
from lockstep.engine.streams import batch_rows, epoch_rows
from lockstep.errors import SpecError
from lockstep.spec import AdamW, Population, Training, TrainSpec, Vary

Rng = np.random.Generator


def folds(rng: Rng, sizes: tuple[int, ...] = (50, 43)) -> list[tuple[Rows, Rows]]:
    made = []
    for size in sizes:
        rows = rng.permutation(60)
        made.append((np.sort(rows[:size]), np.sort(rows[size:])))
    return made


def spec(*, seeds: int = 2, seed: int = 5, batch_size: int = 8, members: tuple[int, ...] | None = None) -> TrainSpec:
    return TrainSpec(
        optimizer=AdamW(lr=[1e-3, 1e-2, 1e-1]),
        training=Training(batch_size=batch_size),
        population=Population(seeds=seeds, seed=seed, members=members),
    )


def test_members_are_candidates_by_folds_by_seeds_with_candidates_outermost(rng: Rng) -> None:
    given = folds(rng)
    population = make_population(spec(), given)
    found = [(m.index, m.candidate, m.fold, m.seed) for m in population.members]
    assert found == [
        (4 * candidate + 2 * fold + seed, candidate, fold, 5 + seed)
        for candidate in range(3)
        for fold in range(2)
        for seed in range(2)
    ]
    for member in population.members:
        lr = (1e-3, 1e-2, 1e-1)[member.candidate]
        assert member.choices == {"optimizer.lr": lr}
        assert member.spec.optimizer == AdamW(lr=lr)
        assert member.train_rows is given[member.fold][0]
        assert member.valid_rows is given[member.fold][1]
    assert population.identities[11] == (2, 1, 6)
    assert population.members[11].label == "member 11 (fold 1, seed 6, optimizer.lr=0.1)"


def sizes(population: Everybody) -> list[tuple[int, int]]:
    """The (steps, batch size) of the chosen members."""
    return [(member.steps, member.batch_size) for member in population.training]


def test_an_epoch_is_the_full_batches_of_the_smallest_fold(rng: Rng) -> None:
    assert sizes(make_population(spec(), folds(rng))) == [(5, 8)] * 12
    assert sizes(make_population(spec(batch_size=100), folds(rng))) == [(1, 43)] * 12


def test_each_batch_size_has_an_epoch_of_its_own(rng: Rng) -> None:
    varied = TrainSpec(training=Training(batch_size=Vary(8, 100, 20)), population=Population(seeds=1))
    assert sizes(make_population(varied, folds(rng))) == [(5, 8)] * 2 + [(1, 43)] * 2 + [(2, 20)] * 2


def test_training_some_members_leaves_steps_batches_and_members_as_they_are(rng: Rng) -> None:
    given = folds(rng, (50, 20))
    everybody, some = make_population(spec(), given), make_population(spec(members=(8, 1)), given)
    assert [member.index for member in some.training] == [8, 1]  # fold 0 alone, and still the steps of fold 1
    assert set(sizes(some)) == set(sizes(everybody)) == {(2, 8)}
    assert len(some.members) == 12
    assert everybody.chosen == tuple(range(12))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((12,), "members must be among 0 to 11 (candidates × folds × seeds), however: 12."),
        ((0, -1), "members must be among 0 to 11 (candidates × folds × seeds), however: -1."),
        ((), "members must name at least one member and none twice, however: []."),
        ((3, 3), "members must name at least one member and none twice, however: [3, 3]."),
    ],
)
def test_members_that_are_not_there_are_refused(rng: Rng, members: tuple[int, ...], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        make_population(spec(members=members), folds(rng))
    assert str(caught.value) == message


def test_an_epochs_rows_are_distinct_rows_of_the_members_own_training_rows(rng: Rng) -> None:
    population = make_population(spec(), folds(rng))
    for epoch in (0, 1, 17):
        rows = epoch_rows(population.members, epoch, 5, 8)
        assert rows.shape == (5, 12, 8)
        for k, member in enumerate(population.members):
            own = rows[:, k].reshape(-1)
            assert len(set(own)) == len(own) == 40
            assert set(own) <= set(member.train_rows)


def test_a_members_rows_do_not_depend_on_who_else_trains(rng: Rng) -> None:
    members = make_population(spec(), folds(rng)).members
    rows = epoch_rows(members, 3, 5, 8)
    for k in (0, 5, 11):
        assert np.array_equal(epoch_rows([members[k]], 3, 5, 8)[:, 0], rows[:, k])
        assert np.array_equal(batch_rows(members[k], 3, 5, 8), rows[:, k])


def test_candidates_of_one_fold_and_seed_see_the_same_batches_and_other_seeds_and_epochs_do_not(rng: Rng) -> None:
    members = make_population(spec(), folds(rng)).members
    rows = epoch_rows(members, 3, 5, 8)
    assert np.array_equal(rows[:, 1], rows[:, 5])
    assert not np.array_equal(rows[:, 0], rows[:, 1])
    assert not np.array_equal(rows[:, 0], epoch_rows(members, 4, 5, 8)[:, 0])


def test_over_many_epochs_every_row_comes_about_equally_often(rng: Rng) -> None:
    member = make_population(spec(seed=int(rng.integers(2**31))), folds(rng, (43,))).members[0]
    counts = np.bincount(np.concatenate([batch_rows(member, epoch, 5, 8).reshape(-1) for epoch in range(400)]))
    share = counts[member.train_rows] / 400
    assert abs(share - 40 / 43).max() < 6 * np.sqrt(40 / 43 * 3 / 43 / 400)


def test_bagging_gives_each_fold_and_seed_a_bootstrap_sample_that_candidates_share(rng: Rng) -> None:
    base = spec()
    bagged = base.replace("population", base.population.replace("bagging", True))
    plain, members = make_population(base, own := folds(rng)).members, make_population(bagged, own).members
    for one, other in zip(members, plain, strict=True):
        assert len(one.train_rows) == len(other.train_rows)
        assert set(one.train_rows) < set(other.train_rows)
        assert np.array_equal(one.valid_rows, other.valid_rows)
    assert np.array_equal(members[1].train_rows, members[5].train_rows)
    assert not np.array_equal(members[0].train_rows, members[1].train_rows)


def test_a_bootstrap_sample_holds_about_63_percent_of_the_rows(rng: Rng) -> None:
    rows = np.arange(20_000)
    held = len(np.unique(bootstrapped(rows, int(rng.integers(2**31))))) / 20_000
    assert abs(held - (1 - np.exp(-1))) < 0.015
