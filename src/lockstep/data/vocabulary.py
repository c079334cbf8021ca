"""Texts to tokens: a vocabulary learned from the training texts, and the numbers that a network takes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from lockstep.data.schema import TokenKind, Vocabulary
from lockstep.data.spelling import Texts, spell

PADDING, UNKNOWN = 0, 1
_SPECIAL = ["[PAD]", "[UNK]"]
_MARK, _ALPHABET = "▁", 1000
_AT_ONCE = 10_000  # texts: what the library holds of each is many times the tokens themselves
SHORT, MOST = 64, 512  # tokens: below, no text is cut; above, all are unless told otherwise
_COVERED = 0.99
_KNOWN = 0.85


def learn_vocabulary(
    texts: Sequence[str],
    kind: TokenKind | None = None,
    size: int = 8000,
    max_tokens: int | None = None,
    spelling: int = 0,
) -> Vocabulary:
    """The tokens of ``texts``, at most ``size`` of them, by how often they occur; one that occurs once is unknown.

    ``wordpiece``: words in lower case, rarer ones in pieces (Schuster and Nakajima 2012); ``word``: whole words and
    signs, in lower case; ``character``. Unless ``kind`` is given, short names go by characters, texts whose words
    recur by words, and all else by words in pieces. A text may have ``max_tokens``: unless given, as
    many as 99 of 100 texts have, but no less than 64 and no more than 512. Beside words there may be so many features
    of ``spelling``; characters say it themselves.
    """
    often = 2 if len(texts) >= 100 else 1
    kind = kind or likely_kind(texts, size)
    entries = _learn_pieces(texts, size, often) if kind == "wordpiece" else _learn_words(kind, texts, size, often)
    vocabulary = Vocabulary(kind=kind, entries=entries, steps=1, spelling=0 if kind == "character" else spelling)
    lengths = token_counts(texts, vocabulary)
    steps = max_tokens or int(np.clip(np.quantile(lengths, _COVERED, method="higher"), SHORT, MOST))
    return vocabulary.model_copy(update={"steps": min(steps, max(1, int(lengths.max())))})


def likely_kind(texts: Sequence[str], size: int) -> TokenKind:
    """By characters where texts are names: short, of a word or two. By words where nearly all that is written would be
    known: a network then need not learn words from their pieces."""
    sample = texts[:10_000]
    words = float(np.mean([len(text.split()) for text in sample]))
    length = float(np.median([len(text) for text in sample]))
    if words < 3 and length <= 20:
        return "character"
    vocabulary = Vocabulary(kind="word", entries=_learn_words("word", sample, size, 2), steps=1)
    tokens = np.concatenate([np.array(ids) for ids in token_ids(sample, vocabulary)])
    return "word" if (tokens != UNKNOWN).mean() >= _KNOWN else "wordpiece"


def _tokenizer(kind: TokenKind, entries: dict[str, int]) -> Tokenizer:
    model = models.WordPiece if kind == "wordpiece" else models.WordLevel
    tokenizer = Tokenizer(model(entries, unk_token=_SPECIAL[UNKNOWN]))
    if kind == "character":
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    else:
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _learn_words(kind: TokenKind, texts: Sequence[str], size: int, often: int) -> tuple[str, ...]:
    maker = _tokenizer(kind, {})
    maker.train_from_iterator(
        texts, trainers.WordLevelTrainer(vocab_size=size, min_frequency=often, special_tokens=[], show_progress=False)
    )
    return _in_order(maker)


def _learn_pieces(texts: Sequence[str], size: int, often: int) -> tuple[str, ...]:
    """Pieces joined pair by pair, the most frequent first, written as WordPiece does: ``##`` goes on with a word.

    The library's own trainer of this form numbers its pieces in an order that changes from run to run, and ties with
    them; its byte-pair trainer does not, so words get a mark in front, and the mark says what starts one.
    """
    maker = Tokenizer(models.BPE())
    like = _tokenizer("wordpiece", {})
    maker.normalizer = like.normalizer
    maker.pre_tokenizer = pre_tokenizers.Sequence([like.pre_tokenizer, pre_tokenizers.Metaspace(_MARK)])
    maker.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=size, min_frequency=often, limit_alphabet=_ALPHABET, show_progress=False),
    )
    pieces = [piece for piece in _in_order(maker) if piece != _MARK]
    starts = [piece for piece in pieces if len(piece) == 1]  # so that every word can begin
    written = [piece.removeprefix(_MARK) if piece.startswith(_MARK) else f"##{piece}" for piece in pieces]
    return tuple(dict.fromkeys([*starts, *written]))


def _in_order(maker: Tokenizer) -> tuple[str, ...]:
    return tuple(word for word, _ in sorted(maker.get_vocab().items(), key=lambda entry: entry[1]))


def token_ids(texts: Texts, vocabulary: Vocabulary) -> Iterator[list[int]]:
    """Each text's tokens as numbers: 1 where unknown, 2 + j for ``entries[j]``; a text without any is one unknown."""
    names = (*_SPECIAL, *vocabulary.entries)
    tokenizer = _tokenizer(vocabulary.kind, {name: index for index, name in enumerate(names)})
    for start in range(0, len(texts), _AT_ONCE):
        for encoding in tokenizer.encode_batch_fast(list(texts[start : start + _AT_ONCE]), add_special_tokens=False):
            yield encoding.ids or [UNKNOWN]


def tokenise(texts: Texts, vocabulary: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens int64 [N, T] (0 is padding) and how many of them each text has, int64 [N]."""
    tokens = np.zeros((len(texts), vocabulary.steps), dtype=np.int64)
    lengths = np.zeros(len(texts), dtype=np.int64)
    for row, ids in enumerate(token_ids(texts, vocabulary)):
        kept = ids[: vocabulary.steps]
        tokens[row, : len(kept)] = kept
        lengths[row] = len(kept)
    return tokens, lengths


def encode_texts(texts: Texts, vocabulary: Vocabulary) -> tuple[NDArray[Any], ...]:
    """What a network takes of texts: tokens and their number, as ``tokenise`` has them, and the spelling if wanted."""
    beside = (spell(texts, vocabulary.spelling),) if vocabulary.spelling else ()
    return (*tokenise(texts, vocabulary), *beside)


def token_counts(texts: Texts, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """How many tokens each text has before any cut, int64 [N]."""
    return np.array([len(ids) for ids in token_ids(texts, vocabulary)], dtype=np.int64)
