"""Text: when a table is read as text, what its vocabulary knows, and rows of one text on one side of every split."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from lockstep.data import (
    Encoded,
    Schema,
    Splits,
    cut_rows,
    encode,
    hash_texts,
    infer_schema,
    make_splits,
    read,
    same_text,
    split_distinct,
    with_vocabulary,
)
from lockstep.data.encode import blank
from lockstep.data.spelling import spell
from lockstep.data.vocabulary import PADDING, UNKNOWN, learn_vocabulary, tokenise
from lockstep.errors import DataError
from lockstep.spec import DataSpec, Preprocess

Rng = np.random.Generator
WORDS = ["the", "a", "cat", "dog", "sat", "ran", "under", "over", "blue", "green", "table", "house", "quickly"]


def sentences(rng: Rng, rows: int = 60) -> list[str]:
    return [" ".join(rng.choice(WORDS, rng.integers(6, 12))) for _ in range(rows)]


def table(rng: Rng, **more: Any) -> pl.DataFrame:
    return pl.DataFrame({"note": sentences(rng), "y": ["ab"[row % 2] for row in range(60)], **more})


def schema_of(frame: Any, **settings: Any) -> tuple[Schema, list[str]]:
    spec = DataSpec(**{"target": "y", **settings})
    schema, findings = infer_schema(read(frame, spec), spec)
    return schema, [finding.code for finding in findings]


def test_a_table_whose_one_input_is_free_text_is_text(rng: Rng) -> None:
    schema, codes = schema_of(table(rng))
    assert (schema.kind, [column.name for column in schema.used_columns], codes) == ("text", ["note"], [])
    assert schema_of(table(rng, id=[f"u{row}" for row in range(60)], same=["x"] * 60))[0].kind == "text"


def test_a_table_whose_one_input_is_names_that_hardly_recur_is_text(rng: Rng) -> None:
    names = ["".join(rng.choice(list("abcdefgh"), 8)) for _ in range(60)]
    y = [row % 2 for row in range(60)]
    assert schema_of(pl.DataFrame({"name": names, "y": y}))[0].kind == "text"
    with pytest.raises(DataError, match="column to learn from"):
        schema_of(pl.DataFrame({"user_id": names, "y": y}))


def test_text_beside_other_columns_is_set_aside_unless_the_kind_says_text(rng: Rng) -> None:
    frame = table(rng, size=rng.normal(size=60))
    schema, codes = schema_of(frame)
    assert (schema.kind, [column.name for column in schema.used_columns], codes) == ("table", ["size"], ["text-column"])
    schema, codes = schema_of(frame, kind="text")
    assert (schema.kind, [column.name for column in schema.used_columns]) == ("text", ["note"])
    assert codes == ["columns-beside-text"]


def test_of_several_texts_the_user_names_one(rng: Rng) -> None:
    frame = table(rng, other=sentences(rng))
    with pytest.raises(DataError, match=r"it has note, other\. Name it: --set data.text=COLUMN"):
        schema_of(frame, kind="text")
    assert [c.name for c in schema_of(frame, kind="text", text=["other"])[0].used_columns] == ["other"]
    with pytest.raises(DataError, match="none looks like text"):
        schema_of(pl.DataFrame({"n": rng.normal(size=60), "y": [0, 1] * 30}), kind="text")


def test_a_list_of_strings_is_text(rng: Rng) -> None:
    texts = sentences(rng)
    raw = read(texts, DataSpec(), np.arange(60) % 2)
    schema, _ = infer_schema(raw)
    assert schema.kind == "text"
    assert encode(raw, schema, with_target=True).inputs[0].tolist() == texts
    assert encode(read(np.array(texts)), schema, with_target=False).inputs[0].tolist() == texts


@pytest.mark.parametrize("kind", ["wordpiece", "word", "character"])
def test_known_tokens_say_the_text_again(rng: Rng, kind: Any) -> None:
    texts = sentences(rng, 200)
    vocabulary = learn_vocabulary(texts, kind, max_tokens=200)
    assert learn_vocabulary(texts, kind, max_tokens=200) == vocabulary
    tokens, lengths = tokenise(texts, vocabulary)
    assert tokens.shape == (200, vocabulary.steps)
    np.testing.assert_array_equal((tokens != PADDING).sum(1), lengths)
    names = ["", "?", *vocabulary.entries]
    for text, row, length in zip(texts, tokens, lengths, strict=True):
        between = "" if kind == "character" else " "
        assert between.join(names[token] for token in row[:length]).replace(" ##", "") == text


def test_a_rare_word_is_said_in_pieces_and_an_unseen_sign_is_unknown(rng: Rng) -> None:
    texts = [*sentences(rng, 200), *["blue"] * 3]
    pieces = learn_vocabulary(texts, "wordpiece")
    (tokens,), (length,) = tokenise(["bluedog"], pieces)
    assert length > 1
    assert UNKNOWN not in tokens[:length]
    for kind in ("wordpiece", "word", "character"):
        (tokens,), (length,) = tokenise(["☃"], learn_vocabulary(texts, kind))  # type: ignore[arg-type]
        assert tokens[:length].tolist() == [UNKNOWN]


def test_a_text_without_tokens_is_one_unknown(rng: Rng) -> None:
    vocabulary = learn_vocabulary(sentences(rng))
    tokens, lengths = tokenise(["", "  "], vocabulary)
    assert lengths.tolist() == [1, 1]
    assert (tokens[:, 0] == UNKNOWN).all()


def test_words_go_by_lower_case_and_what_occurs_once_is_unknown(rng: Rng) -> None:
    vocabulary = learn_vocabulary([*sentences(rng, 200), "zebra"], "word")
    assert "zebra" not in vocabulary.entries
    assert set(vocabulary.entries) == set(WORDS)
    np.testing.assert_array_equal(tokenise(["The CAT"], vocabulary)[0], tokenise(["the cat"], vocabulary)[0])
    assert len(learn_vocabulary(sentences(rng, 200), "word", size=5).entries) == 5


def test_names_go_by_characters_words_that_recur_by_words_and_rare_ones_by_their_pieces(rng: Rng) -> None:
    assert learn_vocabulary(["Schmidt", "De Groot", "Li"]).kind == "character"
    assert learn_vocabulary(sentences(rng)).kind == "word"
    rare = [" ".join("".join(rng.choice(list("abcdef"), 12)) for _ in range(6)) for _ in range(60)]
    assert learn_vocabulary(rare).kind == "wordpiece"
    assert learn_vocabulary(sentences(rng, 200), size=2).kind == "wordpiece", "most words would not be known"


def test_texts_are_cut_where_99_of_100_end_but_none_of_up_to_64_tokens(rng: Rng) -> None:
    lengths = 5 * (rng.permutation(200) + 1)
    texts = [" ".join(["cat"] * length) for length in lengths]
    assert learn_vocabulary(texts, "word").steps == 512
    assert learn_vocabulary(texts, "word", max_tokens=700).steps == 700
    shorter = [" ".join(["cat"] * (length // 5)) for length in lengths]
    assert abs(learn_vocabulary(shorter, "word").steps - 198) <= 1
    assert learn_vocabulary([" ".join(["cat"] * (n // 4 + 1)) for n in range(200)], "word").steps == 50


def learned(texts: list[str], rows: np.ndarray, **settings: Any) -> tuple[Schema, Encoded, list[Any]]:
    spec = DataSpec()
    raw = read(texts, spec, np.arange(len(texts)) % 2)
    schema, _ = infer_schema(raw, spec)
    return with_vocabulary(schema, encode(raw, schema, with_target=True), rows, Preprocess(**settings))


def test_the_vocabulary_knows_nothing_of_other_rows_and_survives_the_schemas_file(rng: Rng) -> None:
    texts = [*sentences(rng), *["a quark met another quark under the green quark"] * 3]
    schema, encoded, _ = learned(texts, np.arange(60), tokens="word")
    assert schema.vocabulary is not None
    assert "quark" not in schema.vocabulary.entries
    again = Schema.model_validate_json(schema.model_dump_json())
    assert again == schema
    for got, want in zip(encode(read(texts), again, with_target=False).inputs, encoded.inputs, strict=True):
        np.testing.assert_array_equal(got, want)


def test_cut_empty_and_repeated_texts_are_said(rng: Rng) -> None:
    texts = sentences(rng)
    texts[3], texts[5] = "", "  " + texts[4].upper()
    schema, encoded, findings = learned(texts, np.arange(60), max_tokens=4)
    assert encoded.inputs[0].shape == (60, 4)
    assert [finding.code for finding in findings] == ["empty-texts", "duplicate-texts"]
    assert findings[1].what.startswith("1 row repeats")
    raw = read(texts)
    (cut,) = cut_rows(raw, schema, with_target=False)
    assert (cut.code, cut.severity) == ("texts-cut", "warning")
    assert f"59 of the 60 rows of {raw.origin}" in cut.evidence
    assert cut_rows(read(["a cat", ""]), schema, with_target=False) == []


def test_texts_are_known_again_by_how_they_are_written_but_for_case_and_spaces(rng: Rng) -> None:
    texts = [*sentences(rng), "ÉTÉ  à Zürich", "이 문장", "\ud800", "", " \t"]
    changed = [f" {text.upper()} ".replace(" ", "\n") if text.strip() else "   " for text in texts]
    hashes = hash_texts(np.array(texts, dtype=object))
    np.testing.assert_array_equal(hash_texts(np.array(changed, dtype=object)), hashes)
    assert len(set(hashes[:-2])) == len({" ".join(text.lower().split()) for text in texts[:-2]})
    assert hashes[-2:].tolist() == [0, 0]
    assert hash_texts(np.array(["a cat"], dtype=object)).tolist() == [11735574737183569255]  # as in any run folder


def test_an_empty_column_of_text_is_refused() -> None:
    with pytest.raises(DataError, match="note is empty"):
        schema_of(pl.DataFrame({"note": [None] * 10, "y": [0, 1] * 5}))


def content_of(rng: Rng, rows: int) -> np.ndarray:
    return rng.integers(0, max(rows // 2, 12), rows)


@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("test_size", [0, 0.25])
def test_rows_of_one_content_stand_on_one_side_of_every_split(rng: Rng, folds: int, test_size: float) -> None:
    content = content_of(rng, 120)
    target = content % 2
    splits = split_distinct(target, "binary", content, folds=folds, test_size=test_size, seed=3)
    check(splits, content, np.arange(120))
    assert abs(len(splits.test) - 120 * test_size) < 20
    assert abs(target[splits.folds[0].valid].mean() - target.mean()) < 0.25


def test_rows_given_for_a_test_stay_as_they_are_given(rng: Rng) -> None:
    content = content_of(rng, 120)
    given = np.sort(rng.choice(120, 20, replace=False))
    splits = split_distinct(content % 2, "binary", content, folds=3, test_size=0.2, seed=0, test_rows=given)
    np.testing.assert_array_equal(splits.test, given)
    rest = np.setdiff1d(np.arange(120), given)
    for fold in splits.folds:
        np.testing.assert_array_equal(np.union1d(fold.train, fold.valid), rest)
        assert not set(content[fold.train]) & set(content[fold.valid])


def check(splits: Splits, content: np.ndarray, rows: np.ndarray) -> None:
    for fold in splits.folds:
        sides = [splits.test, fold.train, fold.valid]
        np.testing.assert_array_equal(np.sort(np.concatenate(sides)), rows)
        kinds = [set(content[side]) for side in sides]
        assert not (kinds[0] & kinds[1] | kinds[0] & kinds[2] | kinds[1] & kinds[2])


def test_rows_that_all_differ_are_split_as_ever(rng: Rng) -> None:
    target = rng.integers(0, 2, 80)
    plain = make_splits(target, "binary", folds=4, seed=1)
    distinct = split_distinct(target, "binary", rng.permutation(80), folds=4, seed=1)
    np.testing.assert_array_equal(distinct.test, plain.test)
    for one, other in zip(distinct.folds, plain.folds, strict=True):
        np.testing.assert_array_equal(one.train, other.train)


def test_texts_are_the_same_but_for_case_and_spaces() -> None:
    codes = same_text(np.array(["a  B", "A b ", "ab", "c", "C"], dtype=object))
    assert codes[0] == codes[1]
    assert codes[3] == codes[4]
    assert len(set(codes.tolist())) == 3


def test_texts_that_say_nothing_are_not_one_text() -> None:
    codes = same_text(np.array(["", " ", "a", "A "], dtype=object))
    assert len(set(codes.tolist())) == 3
    assert codes[2] == codes[3]


def runs_of(text: str) -> set[str]:
    words = [f" {word} " for word in text.split()]
    return {word[i : i + n] for word in words for n in range(2, 6) for i in range(len(word) - n + 1)}


def test_spelling_keeps_the_inner_products_of_which_letters_stand_in_a_row(rng: Rng) -> None:
    texts = ["".join(rng.choice(list("abcdefghij klmnop"), rng.integers(20, 60))) for _ in range(40)]
    spelled = spell(texts, 1 << 15).astype(np.int64)
    runs = [runs_of(text) for text in texts]
    exact = np.array([[len(one & other) for other in runs] for one in runs])
    assert np.abs(spelled @ spelled.T - exact).max() <= 8  # hundreds of runs in 32,768 places: a few meet by chance
    narrow = spell(texts, 512).astype(np.int64)
    assert np.corrcoef((narrow @ narrow.T).ravel(), exact.ravel())[0, 1] > 0.9


def test_spelling_is_the_same_anywhere_and_knows_case_but_no_spaces() -> None:
    assert not spell(["", "  "], 8).any()
    one, other, upper = spell(["the cat", " cat\n the  cat ", "The cat"], 256)
    np.testing.assert_array_equal(one, other)
    assert (one != upper).any()
    np.testing.assert_array_equal(spell(["a"], 64)[0].nonzero()[0], [17, 19, 28])  # as kept models need it


def test_words_have_their_spelling_beside_them_and_characters_need_none(rng: Rng) -> None:
    schema, _ = schema_of(table(rng))
    encoded = encode(read(table(rng), DataSpec(target="y")), schema, with_target=True)
    for kind, parts in (("word", 3), ("wordpiece", 3), ("character", 2)):
        learned, tokens, _ = with_vocabulary(schema, encoded, np.arange(60), Preprocess(tokens=kind, spelling=32))
        assert len(tokens.inputs) == parts
        again = encode(read(table(rng), DataSpec(target="y")), learned, with_target=True).inputs
        assert [(part.dtype, part.shape[1:]) for part in again] == [
            (part.dtype, part.shape[1:]) for part in tokens.inputs
        ]
        assert len(blank(learned)) == parts
