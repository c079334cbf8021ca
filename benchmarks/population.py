"""What a population costs beside one of its networks, and beside the same networks one after another.

    python benchmarks/population.py [K ...]

The text's pipeline, small: 20-64-64-2, batch norm, ReLU, dropout 0.1, AdamW, clip 1.0, batches of 64 of 2,048 rows.
For each K: seconds per epoch of K seeds in one stack; K times the seconds of one network by ``lockstep.train``; and K
times those of a plain PyTorch loop over resident rows. Run in turn in one process; the best of three. Read the ratios.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

import lockstep

ROWS, FEATURES, BATCH, EPOCHS = 2048, 20, 64, 3


def make_module() -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 2),
    )  # fmt: skip


def stacked(x: torch.Tensor, y: torch.Tensor, K: int) -> float:
    began = time.perf_counter()
    lockstep.train(make_module, (x, y), epochs=EPOCHS, batch_size=BATCH, clip_norm=1.0, seeds=K, quiet=True)
    return (time.perf_counter() - began) / EPOCHS


def plain(x: torch.Tensor, y: torch.Tensor) -> float:
    module = make_module()
    optimizer = torch.optim.AdamW(module.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    began = time.perf_counter()
    for _ in range(EPOCHS):
        for rows in torch.randperm(ROWS).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(module(x[rows]), y[rows]).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
        scheduler.step()
    return (time.perf_counter() - began) / EPOCHS


def main() -> None:
    x = torch.randn(ROWS, FEATURES)
    y = (x[:, 0] * x[:, 1] > 0).long()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, the eager executor")
    stacked(x, y, 1), plain(x, y)  # warm
    print("    K   stack s/epoch   per network   against one after another   against the plain loop")
    for K in map(int, sys.argv[1:] or [1, 4, 16, 64]):
        one, stack, loop = (min(f() for _ in range(3)) for f in (
            lambda: stacked(x, y, 1), lambda K=K: stacked(x, y, K), lambda: plain(x, y)))  # fmt: skip
        print(f"{K:5} {stack:15.3f} {stack / K:13.4f} {K * one / stack:26.1f} × {K * loop / stack:23.1f} ×")


if __name__ == "__main__":
    main()
