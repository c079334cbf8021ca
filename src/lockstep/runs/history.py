"""The history of a training: one row per member and epoch."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

if TYPE_CHECKING:  # the record's module is light, the engine around it is not
    from lockstep.engine.records import EpochRecord

SCHEMA = pl.Schema(
    {
        "member": pl.Int64(),
        "candidate": pl.Int64(),
        "fold": pl.Int64(),
        "seed": pl.Int64(),
        "epoch": pl.Int64(),
        "train_loss": pl.Float64(),
        "valid_loss": pl.Float64(),
        "valid_metric": pl.Float64(),
        "metric": pl.String(),
        "lr": pl.Float64(),
        "grad_norm": pl.Float64(),
        "seconds": pl.Float64(),
        "partial": pl.Boolean(),
        "ended": pl.String(),
    }
)


class Identity(NamedTuple):
    """Who a member is: its candidate, its fold and its seed."""

    candidate: int
    fold: int
    seed: int


class History:
    """An observer of the loop that keeps every record: ``history(record)``, then ``history.frame()``.

    ``identities`` maps a member's number in the population, as records have it, to its candidate, fold and seed.
    """

    def __init__(self, identities: Mapping[int, tuple[int, int, int]]) -> None:
        self._identities = {int(member): Identity(*identity) for member, identity in identities.items()}
        self._parts: list[pl.DataFrame] = []

    def __call__(self, record: "EpochRecord") -> None:
        self._parts.append(_rows(record, self._identities))

    def frame(self, ended: Mapping[int, str] = MappingProxyType({})) -> pl.DataFrame:
        """One row per member and epoch in which it trained, ordered by member, then epoch.

        The columns of ``SCHEMA``, then ``grad_norm/<parameter>`` for each parameter (null for members without it).
        ``ended`` says why members ended, by number, and stands in the last row of each.
        """
        if not self._parts:
            return pl.DataFrame(schema=SCHEMA)
        # Joined so far and kept so: a frame per checkpoint then costs what is new, not the whole past again.
        self._parts = [pl.concat(self._parts, how="diagonal")]
        frame = self._parts[0].sort("member", "epoch", maintain_order=True)
        why = pl.col("member").replace_strict(dict(ended), default=None, return_dtype=pl.String)
        return frame.with_columns(ended=pl.when(pl.col("member").is_last_distinct()).then(why))


def _rows(record: "EpochRecord", identities: Mapping[int, Identity]) -> pl.DataFrame:
    who = [identities[int(member)] for member in record.members]
    size = len(who)
    columns = {
        "member": record.members,
        "candidate": np.array([one.candidate for one in who], dtype=np.int64),
        "fold": np.array([one.fold for one in who], dtype=np.int64),
        "seed": np.array([one.seed for one in who], dtype=np.int64),
        "epoch": np.full(size, record.epoch, dtype=np.int64),
        "train_loss": record.train_loss,
        "valid_loss": record.valid_loss,
        "valid_metric": record.valid_metric,
        "metric": [record.metric] * size,
        "lr": record.lr,
        "grad_norm": record.grad_norm,
        "seconds": np.full(size, record.seconds),
        "partial": np.full(size, record.partial),
        "ended": [None] * size,
    }
    layers = {
        f"grad_norm/{name}": np.ascontiguousarray(record.layer_grad_norms[:, i]) for i, name in enumerate(record.layers)
    }
    return pl.DataFrame(columns | layers, schema=SCHEMA | dict.fromkeys(layers, pl.Float64()))
