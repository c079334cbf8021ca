import numpy as np
import polars as pl

from lockstep.engine.records import EpochRecord
from lockstep.runs import HISTORY_SCHEMA, History


def record(epoch: int, members: list[int], layers: tuple[str, ...] = ("0.weight", "0.bias")) -> EpochRecord:
    size = len(members)
    return EpochRecord(
        epoch=epoch,
        epochs=3,
        partial=epoch == 3,
        members=np.array(members),
        metric="accuracy",
        train_loss=np.array(members) + epoch / 10,
        valid_loss=np.full(size, np.nan),
        valid_metric=np.linspace(0.5, 1, size),
        lr=np.full(size, 1e-3),
        grad_norm=np.ones(size),
        layers=layers,
        layer_grad_norms=np.arange(size * len(layers), dtype=float).reshape(size, len(layers)),
        best_epoch=np.full(size, epoch),
        ended={},
        seconds=0.25,
        elapsed=0.25 * epoch,
    )


def test_a_history_has_a_row_per_member_and_epoch_in_which_it_trained() -> None:
    history = History({2: (0, 1, 7), 5: (1, 0, 8)})
    history(record(1, [2, 5]))
    history(record(2, [2, 5]))
    first = history.frame()
    history(record(3, [5]))
    frame = history.frame()
    assert first.height == 4
    assert frame.select("member", "epoch").rows() == [(2, 1), (2, 2), (5, 1), (5, 2), (5, 3)]
    assert frame.filter(member=5).select("candidate", "fold", "seed").unique().rows() == [(1, 0, 8)]
    assert frame["train_loss"].to_list() == [2.1, 2.2, 5.1, 5.2, 5.3]
    assert frame["partial"].to_list() == [False, False, False, False, True]
    assert frame.filter(epoch=1)["grad_norm/0.bias"].to_list() == [1, 3]


def test_a_history_of_nothing_has_its_columns() -> None:
    assert History({}).frame().schema == HISTORY_SCHEMA


def test_why_a_member_ended_stands_in_its_last_row() -> None:
    history = History({2: (0, 1, 7), 5: (1, 0, 8), 6: (2, 0, 8)})
    history(record(1, [2, 5, 6]))
    history(record(2, [2, 5]))
    assert history.frame()["ended"].to_list() == [None] * 5
    ended = {2: "interrupted", 6: "halved", 9: "finished"}
    assert history.frame(ended).select("member", "epoch", "ended").rows() == [
        (2, 1, None), (2, 2, "interrupted"), (5, 1, None), (5, 2, None), (6, 1, "halved"),
    ]  # fmt: skip
    assert list(history.frame(ended).columns)[: len(HISTORY_SCHEMA)] == list(HISTORY_SCHEMA)


def test_members_of_different_structure_have_null_where_they_lack_a_parameter() -> None:
    history = History({0: (0, 0, 0), 1: (1, 0, 0)})
    history(record(1, [0], ("0.weight", "2.weight")))
    history(record(1, [1], ("0.weight",)))
    frame = history.frame()
    assert frame["grad_norm/2.weight"].to_list() == [1, None]
    assert frame.schema["grad_norm/2.weight"] == pl.Float64
