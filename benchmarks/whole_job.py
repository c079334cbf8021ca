"""A whole job from start to finish: 5 folds × 8 seeds × 4 learning rates on adult, by Lockstep and by others.

    python benchmarks/whole_job.py DATA [--only lockstep sklearn skorch lightning pytabkit] [--seeds 1] [--turns 1]

160 networks of one hidden layer of 100, trained by Adam for 15 epochs in batches of 200 on DATA/adult/adult_train.csv
(32,561 rows, none set aside), numbers standardised and categories one-hot on each fold's own training rows. Every
contender is a process of its own, from the interpreter's start to the best rate; both cores are its to use:

- ``lockstep compare``, which writes its report as well;
- scikit-learn: ``GridSearchCV(n_jobs=2)`` of a ``ColumnTransformer`` and ``MLPClassifier``; ``float32`` is the same
  with its inputs in single precision, which is faster and which few write;
- skorch: the same grid over ``NeuralNetClassifier``, with resident batches in place of the DataLoader;
- Lightning: a loop over the fits, two at a time, ``Trainer(barebones=True)``, resident batches;
- ``skorch-loader``, ``lightning-loader``: the same two with torch's DataLoader, as their documentation has them;
- pytabkit: ``RealMLP_TD_S_Classifier`` reduced to the same network, five folds stacked at a time, two at a time.

``--seeds`` says of how many of the 8 seeds a rival does all 20 fits (4 rates × 5 folds); its time past the start is
then scaled up to 8, and the line says so. scikit-learn's ``alpha`` 1e-4 over a batch
of 200 is a weight decay of 5e-7 of the matrices, which the others get. ``accuracy`` is the mean out-of-fold accuracy
of the best rate over folds and seeds at the last epoch; Lockstep keeps each network's best epoch, its accuracy then
comes second. Seconds of processors are what both cores spent: they say more where other programs run beside.

Needs scikit-learn and pandas; skorch, lightning and pytabkit (``pip install skorch lightning pytabkit``) are skipped
where they are not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

RATES, FOLDS, SEEDS, HIDDEN, BATCH, EPOCHS, DECAY = (1e-4, 3e-4, 1e-3, 3e-3), 5, 8, 100, 200, 15, 5e-7
SETTINGS = (
    "optimizer.name=adam", f"optimizer.weight_decay={DECAY}", "optimizer.decay_vectors=false", f"model.hidden={HIDDEN}",
    "model.norm=none", "model.dropout=0", "schedule.name=constant", f"training.batch_size={BATCH}",
    "training.clip_norm=none", "training.patience=none", "preprocess.numbers=standard",
)  # fmt: skip
NEEDS = {
    "sklearn": "pandas", "float32": "pandas", "skorch": "skorch", "skorch-loader": "skorch", "lightning": "lightning",
    "lightning-loader": "lightning", "pytabkit": "pytabkit",
}  # fmt: skip
Scores = dict[float, float]  # the mean accuracy of each rate
Found = tuple[float, float, str]  # seconds by the clock, seconds of processors, and what there is to say


def load(file: str) -> tuple[Any, Any]:
    import numpy as np
    import pandas as pd

    table = pd.read_csv(file)
    return table.drop(columns="class"), (table["class"] == ">50K").to_numpy(np.int64)


def encoder(dtype: str) -> Any:
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_exclude="number")),
    )
    return columns if dtype == "float64" else make_pipeline(columns, FunctionTransformer(as_float32))


def as_float32(x: Any) -> Any:
    return x.astype("float32")


def splits(y: Any) -> list[tuple[Any, Any]]:
    from sklearn.model_selection import StratifiedKFold

    return list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(y, y))


def by_grid(file: str, network: Any, rate: str, seed: str, seeds: int, dtype: str) -> Scores:
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline

    x, y = load(file)
    pipeline = Pipeline([("encode", encoder(dtype)), ("network", network)])
    grid = {f"network__{rate}": list(RATES), f"network__{seed}": list(range(seeds))}
    search = GridSearchCV(pipeline, grid, cv=splits(y), scoring="accuracy", n_jobs=2, refit=False,
                          error_score="raise").fit(x, y)  # fmt: skip
    found = search.cv_results_
    return means((cell[f"network__{rate}"], score) for cell, score in
                 zip(found["params"], found["mean_test_score"], strict=True))  # fmt: skip


def means(scores: Any) -> Scores:
    by_rate: dict[float, list[float]] = {}
    for rate, score in scores:
        by_rate.setdefault(rate, []).append(float(score))
    return {rate: sum(own) / len(own) for rate, own in by_rate.items()}


def sklearn(file: str, seeds: int, dtype: str = "float64") -> Scores:
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(HIDDEN, batch_size=BATCH, max_iter=EPOCHS, early_stopping=False)
    return by_grid(file, network, "learning_rate_init", "random_state", seeds, dtype)


def make_network(features: int, seed: int) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))


class Batches:
    """Shuffled batches of resident tensors, with the arguments that a DataLoader has."""

    def __init__(self, dataset: Any, batch_size: int, shuffle: bool = True) -> None:
        import torch

        pair = (dataset.X, dataset.y) if hasattr(dataset, "X") else dataset
        self.tensors = [torch.as_tensor(each) for each in pair if each is not None]
        self.batch_size, self.shuffle = batch_size, shuffle

    def __len__(self) -> int:
        return -(-len(self.tensors[0]) // self.batch_size)

    def __iter__(self) -> Any:
        import torch

        rows = len(self.tensors[0])
        order = torch.randperm(rows) if self.shuffle else torch.arange(rows)
        for part in order.split(self.batch_size):
            x, *y = (each[part] for each in self.tensors)
            yield x, y[0] if y else torch.zeros(len(x))


def skorch(file: str, seeds: int, *, loader: bool = False) -> Scores:
    import torch
    from skorch import NeuralNetClassifier

    class Network(NeuralNetClassifier):  # type: ignore[misc]
        def fit(self, x: Any, y: Any) -> Any:  # rare categories are missing from some folds
            self.set_params(module__features=x.shape[1])
            return super().fit(x, y)

    resident = {"iterator_train": Batches, "iterator_valid": Batches, "iterator_valid__shuffle": False}
    network = Network(
        make_network, criterion=torch.nn.CrossEntropyLoss, optimizer=torch.optim.Adam,
        optimizer__weight_decay=DECAY, optimizer__fused=True, max_epochs=EPOCHS, batch_size=BATCH, train_split=None,
        callbacks="disable", verbose=0, **({"iterator_train__shuffle": True} if loader else resident),
    )  # fmt: skip
    return by_grid(file, network, "lr", "module__seed", seeds, "float32")


def two_at_a_time(fit: Callable[..., list[tuple[float, float]]], cells: Any) -> Scores:
    from joblib import Parallel, delayed

    done = Parallel(n_jobs=2)(delayed(fit)(*cell) for cell in cells)
    return means(score for scores in done for score in scores)


def lightning(file: str, seeds: int, *, loader: bool = False) -> Scores:
    x, y = load(file)
    folds = []
    for train, valid in splits(y):
        encode = encoder("float32").fit(x.iloc[train])
        folds.append((encode.transform(x.iloc[train]), y[train], encode.transform(x.iloc[valid]), y[valid]))
    return two_at_a_time(by_lightning, product(folds, range(seeds), RATES, [loader]))


def by_lightning(fold: tuple[Any, ...], seed: int, rate: float, loader: bool) -> list[tuple[float, float]]:
    import logging

    import lightning
    import torch
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, TensorDataset

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    x, y, x_valid, y_valid = map(torch.as_tensor, fold)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = make_network(x.shape[1], seed)

        def training_step(self, batch: Any, _: int) -> Any:
            return F.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), rate, weight_decay=DECAY, fused=True)

    module = Module()
    batches = DataLoader(TensorDataset(x, y), BATCH, shuffle=True) if loader else Batches((x, y), BATCH)
    lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", devices=1, barebones=True).fit(module, batches)
    with torch.no_grad():
        return [(rate, float((module.network(x_valid).argmax(1) == y_valid).float().mean()))]


def pytabkit(file: str, seeds: int) -> Scores:
    x, y = load(file)
    return two_at_a_time(by_pytabkit, ((x, y, seed, rate) for seed in range(seeds) for rate in RATES))


def by_pytabkit(x: Any, y: Any, seed: int, rate: float) -> list[tuple[float, float]]:
    import numpy as np
    from pytabkit import RealMLP_TD_S_Classifier

    warnings.filterwarnings("ignore")
    valid = [rows for _, rows in splits(y)]
    size = min(map(len, valid))  # its folds are of one size
    model = RealMLP_TD_S_Classifier(
        n_cv=FOLDS, n_threads=1, random_state=seed, n_epochs=EPOCHS, batch_size=BATCH, hidden_sizes=[HIDDEN], lr=rate,
        lr_sched="constant", sq_mom=0.999, act="relu", weight_param="standard", weight_init_mode="uniform",
        bias_lr_factor=1.0, add_front_scale=False, use_ls=False, tfms=["one_hot", "mean_center", "robust_scale"],
        device="cpu", verbosity=0,
    )  # fmt: skip
    model.fit(x, y, val_idxs=np.stack([rows[:size] for rows in valid]))
    each = model.predict_proba_ensemble(x).argmax(-1)
    return [(rate, float((own[rows] == y[rows]).mean())) for own, rows in zip(each, valid, strict=True)]


RIVALS: dict[str, Callable[[str, int], Scores]] = {
    "sklearn": sklearn,
    "float32": lambda file, seeds: sklearn(file, seeds, "float32"),
    "skorch": skorch,
    "skorch-loader": lambda file, seeds: skorch(file, seeds, loader=True),
    "lightning": lightning,
    "lightning-loader": lambda file, seeds: lightning(file, seeds, loader=True),
    "pytabkit": pytabkit,
}


def timed(command: list[str], **how: Any) -> tuple[float, float, str]:
    """Seconds by the clock, seconds of processors, and what the process says."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(command, check=True, capture_output=True, text=True, **how).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, used, said


def ours(file: str, folder: Path) -> Found:
    """The command's seconds, and what it found."""
    import polars as pl

    command = [sys.executable, "-m", "lockstep", "compare", file, "--target", "class", "--test-size", "0",
               "--vary", "optimizer.lr=" + ",".join(map(str, RATES)), "--folds", str(FOLDS), "--seeds", str(SEEDS),
               "--epochs", str(EPOCHS), "--out", str(folder), "--overwrite", "--quiet"]  # fmt: skip
    took, used, _ = timed([*command, *(word for one in SETTINGS for word in ("--set", one))])
    timing = json.loads((folder / "manifest.json").read_text())["timing"]
    kept = json.loads((folder / "comparison.json").read_text())["candidates"][0]["mean"]
    last = pl.read_parquet(folder / "history.parquet").filter(epoch=EPOCHS)
    best = last.group_by("candidate").agg(pl.col("valid_metric").mean())["valid_metric"].max()
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in timing.items())
    return took, used, f"accuracy {best:.4f}, at each network's best epoch {kept:.4f} ({parts} s)"


def theirs(name: str, file: str, seeds: int) -> Found:
    """The rival's seconds for all seeds, and what it found."""
    command = [sys.executable, __file__, file, "--run", name, "--seeds", str(seeds)]
    one_each = os.environ | {"OMP_NUM_THREADS": "1"}
    took, used, said = timed(command, env=one_each)
    found = json.loads(said.splitlines()[-1])
    start = took - found["seconds"]
    whole, processors = (start + (each - start) * SEEDS / seeds for each in (took, used))
    sample = "" if seeds == SEEDS else f", from {len(RATES) * FOLDS * seeds} of the fits, {took:.0f} s"
    return whole, processors, f"accuracy {max(found['scores'].values()):.4f}{sample}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--only", nargs="+", default=["lockstep", *RIVALS], choices=["lockstep", *RIVALS])
    parser.add_argument("--seeds", type=int, help="of the 8, for every rival (scikit-learn: 8 unless given, others 1)")
    parser.add_argument("--turns", type=int, default=1, help="the fastest of so many turns")
    parser.add_argument("--run", choices=RIVALS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:  # one rival, in this process
        warnings.filterwarnings("ignore")
        began = time.perf_counter()
        scores = RIVALS[given.run](given.data, given.seeds)
        print(json.dumps({"scores": scores, "seconds": time.perf_counter() - began}))
        return
    file = f"{given.data}/adult/adult_train.csv"
    best: dict[str, Found] = {}
    for name in (name for _ in range(given.turns) for name in given.only):
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            print(f"{name}: skipped, {NEEDS[name]} is not installed (pip install {NEEDS[name]})", flush=True)
            continue
        if name == "lockstep":
            with tempfile.TemporaryDirectory() as folder:
                found = ours(file, Path(folder) / "run")
        else:
            found = theirs(name, file, given.seeds or (SEEDS if name in ("sklearn", "float32") else 1))
        best[name] = min(best.get(name, found), found)
        print(f"{name:16} {found[0]:7.1f} s   of processors {found[1]:7.1f} s   {found[2]}", flush=True)
    for name, (seconds, used, _) in best.items():
        if name != "lockstep" and "lockstep" in best:
            clock, processors = seconds / best["lockstep"][0], used / best["lockstep"][1]
            print(
                f"lockstep is {clock:.1f} times as fast as {name}, and takes 1/{processors:.1f} of its processor time"
            )


if __name__ == "__main__":
    main()
