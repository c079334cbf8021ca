"""What the rows show once they are split: duplicates on both sides, and classes with too few rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.data.encoded import Encoded
from lockstep.data.raw import listing
from lockstep.data.schema import Schema
from lockstep.data.splits import Splits
from lockstep.findings import Finding

_CHUNK_BYTES = 1 << 22  # what is worked out at once stays in the cache


def check_rows(encoded: Encoded, splits: Splits, schema: Schema) -> list[Finding]:
    """Findings about duplicates across the sides of a split, contradictory duplicates, and rare classes."""
    hashes = hash_rows(encoded)
    findings = _across(hashes, encoded.target, splits) + _contradictions(hashes, encoded.target, schema)
    if schema.task != "regression" and encoded.target is not None:
        findings += _rare_classes(encoded.target, splits, schema)
    return findings


def hash_rows(encoded: Encoded) -> NDArray[np.uint64]:
    """A 64-bit number per row [N], the same for rows whose inputs are the same (missing like missing)."""
    hashes = np.zeros(len(encoded), dtype=np.uint64)
    random = np.random.default_rng(0)
    for array in encoded.inputs:
        flat = np.ascontiguousarray(array).reshape(len(array), -1)
        width = _words(flat[:0]).shape[1]
        keys = random.integers(1, 2**63, size=width, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        step = max(1, _CHUNK_BYTES // max(1, 8 * width))
        for start in range(0, len(flat), step):
            hashes[start : start + step] += _mixed(_bits(_words(flat[start : start + step]))) @ keys
    return hashes


def _words(flat: NDArray[Any]) -> NDArray[Any]:
    """Pixels of a byte eight at a time, the last word filled up with zeros."""
    if flat.dtype != np.uint8:
        return flat
    return np.pad(flat, ((0, 0), (0, -flat.shape[1] % 8))).view(np.uint64)


def _bits(values: NDArray[Any]) -> NDArray[np.uint64]:
    if values.dtype.kind == "f":
        tidy = values.astype(np.float32) + np.float32(0)  # −0 is 0
        return np.where(np.isnan(tidy), np.float32(np.nan), tidy).view(np.uint32).astype(np.uint64)
    return values.astype(np.uint64, copy=False)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bits spread over 64 (the finaliser of splitmix64), so that a sum of them does not collide by its structure."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _across(hashes: NDArray[np.uint64], target: NDArray[Any] | None, splits: Splits) -> list[Finding]:
    """Rows to score on that also stand, exactly, among the rows that are trained on."""
    findings = []
    outside = np.setdiff1d(np.arange(len(hashes)), splits.test)
    if len(splits.test):
        findings += _repeated(hashes, target, splits.test, outside, "test")
    held = [_repeats(hashes, target, fold.valid, fold.train) for fold in splits.folds]
    rows = sum(len(fold.valid) for fold in splits.folds)
    inputs, both = sum(h[0] for h in held), sum(h[1] for h in held)
    if inputs:
        findings.append(_duplicates(inputs, both, rows, "validation"))
    return findings


def _repeats(
    hashes: NDArray[np.uint64], target: NDArray[Any] | None, rows: NDArray[np.int64], others: NDArray[np.int64]
) -> tuple[int, int]:
    """How many of ``rows`` have the inputs of one of ``others``; and how many the target too."""
    same = np.isin(hashes[rows], hashes[others])
    if target is None or not same.any():
        return int(same.sum()), 0
    codes = np.unique(target, return_inverse=True)[1].astype(np.uint64)
    full = hashes + _mixed(codes + np.uint64(1))
    return int(same.sum()), int(np.isin(full[rows], full[others]).sum())


def _repeated(
    hashes: NDArray[np.uint64],
    target: NDArray[Any] | None,
    rows: NDArray[np.int64],
    others: NDArray[np.int64],
    side: str,
) -> list[Finding]:
    inputs, both = _repeats(hashes, target, rows, others)
    return [_duplicates(inputs, both, len(rows), side)] if inputs else []


def _duplicates(inputs: int, both: int, rows: int, side: str) -> Finding:
    share = inputs / rows
    verb = "repeat" if inputs > 1 else "repeats"
    return Finding(
        severity="warning" if share >= 0.01 else "info",
        code=f"duplicates-{side}",
        subject=f"{side} rows",
        what=f"{inputs:,} of the {rows:,} {side} rows {verb} a row that is trained on, in every column used.",
        evidence=f"{share:.1%} have the same inputs, {both / rows:.1%} ({both:,}) the same target too",
        remedy="If they are the same case twice, remove them, or keep such rows on one side: --set data.group=COLUMN.",
    )


def _contradictions(hashes: NDArray[np.uint64], target: NDArray[Any] | None, schema: Schema) -> list[Finding]:
    """Rows with the same inputs and another class: no network can be right about all of them."""
    if target is None or schema.task == "regression":
        return []
    _, rows, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    lowest, highest = np.full(len(counts), np.inf), np.full(len(counts), -np.inf)
    np.minimum.at(lowest, rows, target.astype(np.float64))
    np.maximum.at(highest, rows, target.astype(np.float64))
    disputed = int(counts[lowest < highest].sum())
    if not disputed:
        return []
    return [
        Finding(
            severity="info" if disputed < 0.05 * len(hashes) else "warning",
            code="contradictory-rows",
            subject=schema.target or "y",
            what=f"{disputed:,} rows have the same inputs as another row of another class.",
            evidence=f"{disputed:,} of {len(hashes):,} rows ({disputed / len(hashes):.1%})",
            remedy="No model can get all of these right; a further column may tell them apart.",
        )
    ]


def _rare_classes(target: NDArray[Any], splits: Splits, schema: Schema) -> list[Finding]:
    counts = np.bincount(target.astype(np.int64), minlength=len(schema.classes))
    folds = len(splits.folds)
    untrained = np.zeros(len(counts), dtype=bool)
    for fold in splits.folds:
        untrained |= np.bincount(target[fold.train].astype(np.int64), minlength=len(counts)) == 0
    rare = (counts < max(2, folds + (len(splits.test) > 0))) | untrained
    if not rare.any():
        return []
    shown = [f"{schema.classes[i]} ({counts[i]:,})" for i in np.flatnonzero(rare)]
    names = [schema.classes[i] for i in np.flatnonzero(untrained)]
    unlearnt = f" Some members never see {listing(names, 6)}." if names else ""
    plural = "classes have" if rare.sum() > 1 else "class has"
    return [
        Finding(
            severity="warning",
            code="rare-classes",
            subject=listing([schema.classes[i] for i in np.flatnonzero(rare)]),
            what=f"{int(rare.sum())} {plural} too few rows to stand in every fold.{unlearnt}",
            evidence=f"rows: {listing(shown)}; folds: {folds}",
            remedy="Collect more rows, merge these classes, or give fewer --folds.",
        )
    ]
