"""A table that is read as text: which column, what it is to a network, and what recurs in it."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.encoded import Encoded
from lockstep.data.kinds import is_id_name
from lockstep.data.raw import listing
from lockstep.data.schema import Column, Schema, Vocabulary
from lockstep.data.vocabulary import encode_texts, learn_vocabulary
from lockstep.errors import DataError
from lockstep.findings import Finding, count_of
from lockstep.spec.data import DataSpec
from lockstep.spec.network import Preprocess


def text_column(columns: Sequence[Column], frame: pl.DataFrame, spec: DataSpec, origin: str) -> str | None:
    """The column that is the text of a table, or None where the table is read by its columns.

    It is text if ``data.kind`` says so, or if nothing else is left to learn from: a column of free text, or of words
    that hardly recur (names). Raises ``DataError`` where ``data.kind=text`` leaves open which column it is.
    """
    open_columns = [column for column in columns if not column.why.startswith(("dropped", "groups the", "orders the"))]
    texts = [column.name for column in open_columns if column.kind == "text" and frame[column.name].dtype == pl.String]
    names = [column.name for column in open_columns if _may_be_names(column, frame)]
    found = [name for name in spec.text if name in texts] or texts or names
    if spec.kind != "text":
        alone = not any(column.used for column in columns) and spec.kind is None
        return found[0] if alone and len(found) == 1 else None
    if len(found) == 1:
        return found[0]
    seen = f"it has {listing(found)}" if found else "none looks like text"
    raise DataError(
        f"With data.kind=text one column must be the text, however of {origin} {seen}. Name it: --set data.text=COLUMN."
    )


def _may_be_names(column: Column, frame: pl.DataFrame) -> bool:
    words = frame[column.name].dtype == pl.String
    return words and column.kind == "identifier" and not is_id_name(column.name)


def as_text_alone(columns: Sequence[Column], name: str) -> tuple[list[Column], list[Finding]]:
    """``columns`` with the text as the only one that is used."""
    others = [column.name for column in columns if column.name != name and column.used]
    made = []
    for column in columns:
        if column.name == name:
            column = column.model_copy(update={"kind": "text", "used": True, "why": "is read as text"})
        elif column.used:
            column = column.model_copy(update={"used": False, "why": "stands beside the text (data.kind=text)"})
        made.append(column)
    if not others:
        return made, []
    note = Finding(
        severity="info", code="columns-beside-text", subject=listing(others, 12),
        what=f"Only {name} is read; {len(others)} other column{'s are' if len(others) > 1 else ' is'} set aside.",
        evidence=f"data.kind=text; beside it: {listing(others, 12)}",
        remedy="To train on these columns and leave the text out: --set data.kind=table.",
    )  # fmt: skip
    return made, [note]


def texts_of(values: pl.Series) -> NDArray[np.object_]:
    """A column's texts [N] as Python strings, "" where missing."""
    return np.array(values.cast(pl.String).fill_null("").to_list(), dtype=object)


def plain_texts(texts: NDArray[np.object_]) -> list[str]:
    """Texts but for case and spaces."""
    return [" ".join(text.casefold().split()) for text in texts]


def hash_texts(texts: NDArray[np.object_]) -> NDArray[np.uint64]:
    """A 64-bit number for each text [N], here and anywhere the same where they differ in case and spaces alone.

    It is 0 where there is no text: such rows have nothing to be known again by.
    """
    digests = [blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest() for text in plain_texts(texts)]
    hashes = np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
    return np.where([bool(text.strip()) for text in texts], hashes, np.uint64(0))


def same_text(texts: NDArray[np.object_]) -> NDArray[np.int64]:
    """A number for each text [N], the same where they differ in case and spaces alone; one without any is alone."""
    plain = plain_texts(texts)
    codes = pl.Series(plain, dtype=pl.String).rank("dense").to_numpy().astype(np.int64) - 1
    empty = np.array([not text for text in plain], dtype=np.bool_)
    return np.where(empty, len(plain) + np.arange(len(plain)), codes)


def with_vocabulary(
    schema: Schema, encoded: Encoded, rows: NDArray[np.int64], spec: Preprocess
) -> tuple[Schema, Encoded, list[Finding]]:
    """The schema with a vocabulary learned from the texts of ``rows``, all rows as tokens, and what there is to say."""
    texts, name = encoded.inputs[0], schema.used_columns[0].name
    findings = check_texts(texts, name)
    read = (spec.tokens, spec.vocabulary, spec.max_tokens, spec.spelling)
    vocabulary = learn_vocabulary(list(texts[rows]), *read)
    return (
        schema.model_copy(update={"vocabulary": vocabulary}),
        Encoded(encode_texts(texts, vocabulary), encoded.target),
        findings,
    )


def cut_texts(counts: NDArray[np.int64], vocabulary: Vocabulary, name: str, origin: str) -> list[Finding]:
    """A finding where some texts of ``origin``, of so many tokens, are longer than what is read of them."""
    longer = int((counts > vocabulary.steps).sum())
    if not longer:
        return []
    more = count_of(longer, "text has", "texts have")
    return [
        Finding(
            severity="info" if longer <= 0.02 * len(counts) else "warning", code="texts-cut", subject=name,
            what=f"The first {vocabulary.steps:,} tokens of a text are read; {more} more.",
            evidence=f"{longer:,} of the {len(counts):,} rows of {origin}, the longest of {counts.max():,} "
            f"{vocabulary.kind} tokens",
            remedy="To read more of them, for more memory and time, train with --set preprocess.max_tokens=N.",
        )
    ]  # fmt: skip


def check_texts(texts: NDArray[np.object_], name: str) -> list[Finding]:
    """Rows that repeat another's text, and rows that have none."""
    findings = []
    empty = sum(not text.strip() for text in texts)
    repeated = len(texts) - len(np.unique(same_text(texts)))
    if empty == len(texts):
        raise DataError(f"Text must say something, however {name} is empty in all {empty:,} rows. Name another column.")
    if empty:
        findings.append(
            Finding(
                severity="info", code="empty-texts", subject=name,
                what=f"{count_of(empty, 'row has', 'rows have')} no text; such rows look alike to a network.",
                evidence=f"{empty:,} of {len(texts):,} rows", remedy="Leave them out if they say nothing.",
            )
        )  # fmt: skip
    if repeated:
        findings.append(
            Finding(
                severity="info" if repeated < 0.05 * len(texts) else "warning", code="duplicate-texts", subject=name,
                what=f"{count_of(repeated, 'row repeats', 'rows repeat')} the text of another.",
                evidence=f"{len(texts):,} rows, {len(texts) - repeated:,} different texts (but for case and spaces)",
                remedy="Remove them if they are the same case twice. Where splits are drawn by chance, rows of one "
                "text stay on one side.",
            )
        )  # fmt: skip
    return findings
