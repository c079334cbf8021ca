"""Texts by their spelling: which few letters stand in a row in each, hashed to a fixed number of features."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Texts = Sequence[str] | NDArray[np.object_]
SHORTEST, LONGEST = 2, 5  # letters in a row


def spell(texts: Texts, size: int) -> NDArray[np.int8]:
    """Which 2 to 5 letters stand in a row in each text's words, int8 [N, ``size``].

    A word is what spaces part, with a space before and behind. Every such run of letters, however often a text has it,
    adds 1 or −1 to one of ``size`` places, both by its hash: inner products between texts stay about what they are
    among the runs themselves (feature hashing, Weinberger et al. 2009).
    """
    known: dict[str, NDArray[np.int64]] = {}
    spelled = np.zeros((len(texts), size), dtype=np.int8)
    for row, text in enumerate(texts):
        words = set(text.split())
        for word in words - known.keys():
            known[word] = _hashes(f" {word} ")
        if words:
            hashes = np.unique(np.concatenate([known[word] for word in words]))
            signs = 1 - 2 * (hashes >> 31)
            counts = np.bincount(hashes % size, weights=signs, minlength=size)
            spelled[row] = np.clip(counts, -127, 127)
    return spelled


def _hashes(word: str) -> NDArray[np.int64]:
    starts = ((start, length) for length in range(SHORTEST, LONGEST + 1) for start in range(len(word) - length + 1))
    runs = [word[start : start + length].encode(errors="surrogatepass") for start, length in starts]
    return np.array([crc32(run) for run in runs], dtype=np.int64)
