"""What the first use costs: the start of the process and the compiling of the kernels, and what is left of it later.

    python benchmarks/cold.py [--turns 3]

Each line is a process of its own: `lockstep fit` of a table of 200 rows (5 folds, 20 epochs, with its report), and a
script that calls ``lockstep.train`` for 16 networks 20-64-64-2 on 2,048 rows for 3 epochs. Cold: with an empty cache
folder, so that the kernels are compiled; warm: with the folder that the cold run left; the fastest of several turns.
``plain torch`` is a script that trains the same 16 networks one after another.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

SETUP = """
import time
began = time.perf_counter()
import torch
from torch import nn
x = torch.randn(2048, 20)
y = (x[:, 0] * x[:, 1] > 0).long()
def make_module():
    return nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1),
                         nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 2))
"""
TRAIN = """
import lockstep
imported = time.perf_counter()
lockstep.train(make_module, (x, y), epochs=3, batch_size=64, clip_norm=1.0, seeds=16, quiet=True)
"""
PLAIN = """
torch.set_num_threads(1)  # the faster for networks this small
imported = time.perf_counter()
for seed in range(16):
    torch.manual_seed(seed)
    module = make_module()
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    for _ in range(3):
        for rows in torch.randperm(2048).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
"""
SAY = "print(time.perf_counter() - imported)\n"


def table(path: Path) -> Path:
    x = np.random.default_rng(0).normal(size=(200, 8))
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(8)})
    frame.with_columns(target=pl.Series(np.where(x[:, 0] * x[:, 1] > 0, "yes", "no"))).write_csv(path)
    return path


def run(command: list[str], cache: Path) -> tuple[float, str]:
    """Seconds of the whole process, and what it says last."""
    began = time.perf_counter()
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return time.perf_counter() - began, done.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    turns = parser.parse_args().turns
    best: dict[tuple[str, str], tuple[float, float | None]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit = [sys.executable, "-m", "lockstep", "fit", str(table(folder / "table.csv")), "--target", "target",
               "--epochs", "20", "--quiet", "--overwrite", "--out", str(folder / "run")]  # fmt: skip
        script = [sys.executable, "-c"]
        for turn in range(turns):
            for what, command in (("lockstep fit, 200 rows", fit), ("lockstep.train", [*script, SETUP + TRAIN + SAY])):
                for how in ("cold", "warm"):
                    took, said = run(command, folder / f"cache-{what}-{turn}")
                    within = float(said) if what == "lockstep.train" else None
                    best[what, how] = min(best.get((what, how), (took, within)), (took, within))
            took, said = run([*script, SETUP + PLAIN + SAY], folder)
            best["plain torch", ""] = min(best.get(("plain torch", ""), (took, float(said))), (took, float(said)))
    for (what, how), (took, within) in best.items():
        call = "" if within is None else f", of which the training {within:5.2f} s"
        print(f"{what:24} {how:5} {took:6.2f} s{call}")


if __name__ == "__main__":
    main()
