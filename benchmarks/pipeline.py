"""The text's own pipeline on MNIST: by ``lockstep.train`` and by the plain PyTorch loop.

    LOCKSTEP_DATA=… python benchmarks/pipeline.py [epochs] [seeds]

Linear, batch norm, ReLU, dropout 0.5, twice, and Linear; AdamW 1e-3/0.01; cosine with T_max 100; clip 1.0;
cross-entropy; batches of 128 of the 60,000 training rows, measured on the 10,000 others (``mnist/`` as IDX). Per seed
the plain loop and a member alone in turn, then all seeds as one stack; one process, whatever threads it is given.
Prints test accuracies after the last epoch, their means and spread, and seconds per network and epoch.
"""

import gzip
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import lockstep

BATCH = 128


class MLP(nn.Module):
    def __init__(self, input_dim: int = 784, hidden_dim: int = 256, output_dim: int = 10, dropout: float = 0.5) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(input_dim, hidden_dim), nn.BatchNorm1d(hidden_dim), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden_dim, hidden_dim), nn.BatchNorm1d(hidden_dim), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden_dim, output_dim),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


Rows = tuple[Tensor, Tensor]


def mnist(name: str) -> Rows:
    folder = Path(os.environ["LOCKSTEP_DATA"]) / "mnist"
    images = gzip.decompress((folder / f"{name}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
    x = torch.from_numpy(np.frombuffer(images, np.uint8).reshape(-1, 784) / 255).float()
    return x, torch.from_numpy(np.frombuffer(labels, np.uint8).astype(np.int64))


def plain(train: Rows, valid: Rows, epochs: int, seed: int) -> tuple[float, float]:
    """The loop as the text writes it: (accuracy, seconds)."""
    torch.manual_seed(seed)
    model = MLP()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    loader = DataLoader(TensorDataset(*train), batch_size=BATCH, shuffle=True)
    began = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            total += loss.item() * len(x)
        scheduler.step()
        model.eval()
        with torch.no_grad():
            output = model(valid[0])
        accuracy = (output.argmax(1) == valid[1]).float().mean().item()
        print(f"  plain, seed {seed}, epoch {epoch + 1}: train loss {total / len(train[1]):.4f}, "
              f"valid loss {F.cross_entropy(output, valid[1]).item():.4f}, valid accuracy {accuracy:.4f}")  # fmt: skip
    return accuracy, time.perf_counter() - began


def stacked(train: Rows, valid: Rows, epochs: int, seed: int, seeds: int) -> tuple[list[float], float]:
    """The same by Lockstep, for ``seeds`` networks as one: (accuracies, seconds)."""
    began = time.perf_counter()
    result = lockstep.train(
        MLP, train, valid, loss="cross_entropy", optimizer=lockstep.AdamW(lr=1e-3, weight_decay=0.01),
        schedule=lockstep.CosineAnnealingLR(T_max=100), epochs=epochs, batch_size=BATCH, clip_norm=1.0, seed=seed,
        seeds=seeds,
    )  # fmt: skip
    last = result.history.filter(epoch=epochs)
    return last["valid_metric"].to_list(), time.perf_counter() - began


def main() -> None:
    epochs, seeds = (int(given) for given in (*sys.argv[1:], *("3", "5")[len(sys.argv) - 1 :]))
    train, valid = mnist("train"), mnist("t10k")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {epochs} epochs, {seeds} seeds")
    accuracies: dict[str, list[float]] = {"plain loop": [], "lockstep, one": [], "lockstep, a stack": []}
    seconds = dict.fromkeys(accuracies, 0.0)
    for seed in range(seeds):
        accuracy, took = plain(train, valid, epochs, seed)
        accuracies["plain loop"].append(accuracy)
        seconds["plain loop"] += took
        one, took = stacked(train, valid, epochs, seed, 1)
        accuracies["lockstep, one"] += one
        seconds["lockstep, one"] += took
    accuracies["lockstep, a stack"], seconds["lockstep, a stack"] = stacked(train, valid, epochs, 0, seeds)
    print("                     accuracy   spread   s per network and epoch   against the plain loop")
    for name, found in accuracies.items():
        took = seconds[name] / seeds / epochs
        ratio = seconds["plain loop"] / seconds[name]
        print(f"{name:20} {np.mean(found):8.4f} {np.std(found, ddof=1):8.4f} {took:25.2f} {ratio:22.2f} ×")
    difference = np.mean(accuracies["lockstep, one"]) - np.mean(accuracies["plain loop"])
    error = np.sqrt(sum(np.var(accuracies[name], ddof=1) / seeds for name in ("plain loop", "lockstep, one")))
    print(f"difference of the means {difference:+.4f}, its standard error {error:.4f}")


if __name__ == "__main__":
    main()
