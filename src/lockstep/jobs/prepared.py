"""Everything that is settled about data and spec before training, and what a population is judged by afterwards."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.data import Encoded, Raw, RawTable, Schema, Splits, hash_rows, hash_texts, raw_texts
from lockstep.findings import Finding
from lockstep.spec import FitSpec

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Alike:
    """Which rows are alike, a number for each ``[N]``, and what those numbers stand for: intervals draw such rows
    together, for what a model makes of one it makes of all."""

    codes: Rows
    name: str


def alike_by(groups: Rows | None, content: Rows | None) -> Alike | None:
    """Rows of one group, or else of one text; None where no two are alike."""
    if groups is not None:
        return Alike(groups, "groups")
    if content is not None and len(np.unique(content)) < len(content):
        return Alike(content, "different texts")
    return None


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that is settled before training. ``sources`` are the files whose rows, one after another, are the
    rows of ``encoded``: the data, then the user's validation rows, then the test rows."""

    spec: FitSpec
    schema: Schema
    sources: tuple[Raw, ...]
    encoded: Encoded
    splits: Splits
    alike: Alike | None
    findings: tuple[Finding, ...]

    @property
    def target(self) -> NDArray[Any]:
        assert self.encoded.target is not None
        return self.encoded.target

    def inputs(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """The encoded inputs of the given rows."""
        return tuple(x[rows] for x in self.encoded.inputs)

    def hashes(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """What the given rows are known again by."""
        if self.schema.kind != "text":
            return hash_rows(self.encoded)[rows]
        tables = [source for source in self.sources if isinstance(source, RawTable)]
        texts = np.concatenate([raw_texts(table, self.schema, with_target=True) for table in tables])
        return hash_texts(texts[rows])

    def raw_rows(self, rows: NDArray[np.int64]) -> list[tuple[Raw, int]]:
        """Where each row comes from: its source and its place there."""
        starts = np.cumsum([0, *(len(source) for source in self.sources)])
        where = np.searchsorted(starts, rows, side="right") - 1
        return [(self.sources[w], int(row - starts[w])) for w, row in zip(where, rows, strict=True)]


@dataclass(frozen=True, eq=False)
class Judged:
    """The ensemble's prediction on the rows that it is judged by, ``"test"`` or ``"out-of-fold"``."""

    kind: str
    rows: Rows
    prediction: NDArray[np.float64]
