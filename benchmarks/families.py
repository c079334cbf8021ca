"""What each family does on the kind of data it is for, beside a simple rival where there is one.

    python benchmarks/families.py DATA [mnist japanese_vowels gun_point trec names ett sms]

DATA is a folder with those sets (or set LOCKSTEP_DATA). Test rows are each set's own test file where it has one (MNIST,
JapaneseVowels, GunPoint, TREC), the last four months (ETTh1), else the stratified fifth that ``lockstep fit`` draws for
seed 0. ``single`` is the mean over networks, each alone; ``ensemble`` their average. Nothing is chosen by test rows.
Seconds are whole fits with their reports.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

import lockstep


def fit(data, name: str, metric: str, **settings) -> lockstep.Run:
    """One fit, and its line."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = lockstep.fit(data, out=Path(folder) / "run", quiet=True, **settings)
        seconds = time.perf_counter() - began
        each = [member["test"][metric] for member in run.evaluation["members"]]
        found = run.metrics[metric]
        spread = f" ± {np.std(each, ddof=1):.4f}" if len(each) > 1 else ""
        print(
            f"{name:<40} {metric:<9} ensemble {found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]   "
            f"single {np.mean(each):.4f}{spread} ({len(each)} networks)   {seconds:5.0f} s",
            flush=True,
        )
        run.evaluation  # noqa: B018  (read before the folder goes)
        return run


def mnist(root: Path) -> None:
    fit(root / "mnist", "MNIST cnn", "accuracy", recipe="cnn", folds=1)


def japanese_vowels(root: Path) -> None:
    for recipe in ("rnn", "transformer", "cnn"):
        data, test = (root / "ucr" / f"JapaneseVowels_{part}.ts" for part in ("TRAIN", "TEST"))
        fit(data, f"JapaneseVowels {recipe}", "accuracy", recipe=recipe, test=test, seeds=5)


def gun_point(root: Path) -> None:
    data = root / "ucr" / "GunPoint_TRAIN.ts"
    fit(data, "GunPoint cnn", "accuracy", recipe="cnn", test=root / "ucr" / "GunPoint_TEST.ts", seeds=5)


def trec_table(path: Path) -> pl.DataFrame:
    """The class is the first number of a line, the question the rest."""
    lines = path.read_bytes().decode("latin-1").split("\n")
    pairs = [line.split(" ", 1) for line in lines if line.strip()]
    return pl.DataFrame(pairs, schema=["label", "question"], orient="row")


def trec(root: Path) -> None:
    train, test = (trec_table(root / "trec" / f"TREC.{part}.all") for part in ("train", "test"))
    rival = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )
    rival.fit(train["question"].to_list(), train["label"].to_list())
    accuracy = accuracy_score(test["label"].to_list(), rival.predict(test["question"].to_list()))
    print(f"{'TREC tf-idf, logistic regression':<40} accuracy  {accuracy:.4f}")
    fit(train, "TREC cnn", "accuracy", target="label", test=test, recipe="cnn")


def names(root: Path) -> None:
    """Which language a surname is from, beside naive Bayes on counts of up to 4 letters in a row.

    Each name of a language counts once: the 2,000 Arabic rows are 108 names, and with the copies a fifth of all names
    has 22 of them in 397 rows, so that four names decide which of two models is the better.
    """
    rows = [
        (name.strip(), path.stem)
        for path in sorted((root / "names_by_language").glob("*.txt"))
        for name in path.read_text().splitlines()
        if name.strip()
    ]
    table = pl.DataFrame(rows, schema=["name", "language"], orient="row").unique(maintain_order=True)
    splits = lockstep_split(table["language"].to_numpy(), table["name"].to_list())
    train, test = table[splits[0]], table[splits[1]]
    rival = make_pipeline(
        CountVectorizer(analyzer="char_wb", ngram_range=(1, 4), lowercase=False), MultinomialNB(alpha=0.1)
    )
    rival.fit(train["name"].to_list(), train["language"].to_list())
    said, truth = rival.predict(test["name"].to_list()), test["language"].to_list()
    print(
        f"{'names multinomial n-grams':<40} accuracy  {accuracy_score(truth, said):.4f}   "
        f"mean F1 {f1_score(truth, said, average='macro'):.4f}"
    )
    longer = {"model.pooling": "mean_max", "loss.label_smoothing": 0.1, "training.patience": None}  # chosen out of fold
    for name, own in (("cnn", {}), ("cnn, mean and maximum, smoothing .1", longer)):
        run = fit(train, f"names {name}", "accuracy", target="language", test=test, recipe="cnn", folds=5, set=own)
        print(f"{'':<40} f1        ensemble {run.metrics['f1']['value']:.4f}")
    run = fit(train, "names rnn", "accuracy", target="language", test=test, recipe="rnn", folds=3)
    print(f"{'':<40} f1        ensemble {run.metrics['f1']['value']:.4f}")


def lockstep_split(labels: np.ndarray, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """A stratified fifth of the distinct names for test: a name that stands twice is on one side."""
    rng = np.random.default_rng(0)
    distinct = sorted(set(texts))
    held = set(rng.permutation(distinct)[: len(distinct) // 5].tolist())
    inside = np.array([text in held for text in texts])
    assert set(labels[inside]) == set(labels)
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def ett(root: Path) -> None:
    """12, 4 and 4 months; each column in units of its spread in training; the next 96 hours from the last 336."""
    data = {"data.time": "date", "data.horizon": 96, "data.context": 336, "data.parts": [8640, 2880, 2880]}
    for recipe in ("perceptron", "mlp"):
        run = fit(root / "ett" / "ETTh1.csv", f"ETTh1 {recipe}", "mse", recipe=recipe, set=data)
        simple = run.evaluation["baseline"]
        print(f"{'':<40} mse       {simple['metrics']['mse']:.4f} by {simple['what']}")
        print(f"{'':<40} mae       {run.metrics['mae']['value']:.4f}")


def sms(root: Path) -> None:
    """Spam or not; messages that stand twice are on one side."""
    table = pl.read_csv(root / "sms_spam" / "sms_spam.csv")
    train, test = (table[rows] for rows in lockstep_split(table["type"].to_numpy(), table["text"].to_list()))
    words = {"ngram_range": (1, 2)}, 10
    letters = {"ngram_range": (2, 5), "analyzer": "char_wb", "lowercase": False}, 100
    for name, (counted, C) in (("words and pairs", words), ("2 to 5 letters", letters)):
        rival = make_pipeline(TfidfVectorizer(sublinear_tf=True, **counted), LogisticRegression(C=C, max_iter=1000))
        rival.fit(train["text"].to_list(), train["type"].to_list())
        f1 = f1_score(test["type"].to_list(), rival.predict(test["text"].to_list()), pos_label="spam")
        print(f"{f'sms_spam tf-idf of {name}, logistic':<40} f1        {f1:.4f}")
    fit(train, "sms_spam cnn", "f1", target="type", test=test, recipe="cnn")


CASES = {case.__name__: case for case in (mnist, japanese_vowels, gun_point, trec, names, ett, sms)}

if __name__ == "__main__":
    arguments = sys.argv[1:]
    where = Path(arguments.pop(0) if arguments and arguments[0] not in CASES else os.environ["LOCKSTEP_DATA"])
    for chosen in arguments or list(CASES):
        CASES[chosen](where)
