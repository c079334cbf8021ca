"""What eight small networks of each family cost in one stack, beside the same one after another in plain PyTorch.

    python benchmarks/family_speed.py [FAMILY ...]

Each is trained on 1,024 rows in batches of 64 with AdamW and clipping, the rows drawn from resident tensors. Plain:
torch's own layers (nn.GRU on packed sequences, nn.TransformerEncoderLayer, nn.Conv2d in a Sequential, nn.Conv1d for
series), one network after another. In one stack: by the executor that ``auto`` takes, and by ``eager``. Milliseconds
per step of all eight, in turn in one process, the best of three epochs; last, plain over ``auto``. Read the ratios.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

import lockstep
from lockstep.network.families import make_body
from lockstep.network.shapes import Grid, Sequence
from lockstep.spec.network import Cnn, Rnn, Transformer

ROWS, BATCH, NETWORKS, CLASSES = 1024, 64, 8, 10


class Whole(nn.Module):
    """A body of ours and a linear head; a sequence comes with its length."""

    def __init__(self, spec: Cnn | Rnn | Transformer, shape: Grid | Sequence) -> None:
        super().__init__()
        self.body, width = make_body(spec, shape)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor, *lengths: Tensor) -> Tensor:
        masks = [torch.arange(x.shape[1]) < own[:, None] for own in lengths]
        return self.head(self.body(x, *masks))  # type: ignore[no-any-return]


class PlainRecurrent(nn.Module):
    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (2 if layer.bidirectional else 1), CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        _, last = self.layer(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        last = last[0] if isinstance(last, tuple) else last
        return self.head(last.transpose(0, 1).flatten(1))  # type: ignore[no-any-return]


class PlainTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Linear(8, 32), nn.Parameter(torch.randn(30, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(32), enable_nested_tensor=False)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(x.shape[1]) < lengths[:, None]
        h = self.encoder(self.tokens(x) + self.positions, src_key_padding_mask=~mask)
        return self.head((h * mask[..., None]).sum(1) / lengths[:, None])  # type: ignore[no-any-return]


class PlainSeries(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            nn.Conv1d(8, 32, 5, padding=2, bias=False), nn.BatchNorm1d(32), nn.ReLU(),
            nn.Conv1d(32, 32, 3, padding=1, bias=False), nn.BatchNorm1d(32), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(x.shape[1]) < lengths[:, None]
        h = self.stages(x.transpose(1, 2))
        return self.head((h * mask[:, None]).sum(2) / lengths[:, None])  # type: ignore[no-any-return]


def plain_images(channels: tuple[int, int]) -> nn.Module:
    a, b = channels
    return nn.Sequential(
        nn.Conv2d(1, a, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(a), nn.ReLU(),
        nn.Conv2d(a, b, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(b), nn.ReLU(),
        nn.Flatten(), nn.Linear(b * 9, CLASSES),
    )  # fmt: skip


def plain_recurrent(layer: type[nn.RNNBase], bidirectional: bool) -> Callable[[], nn.Module]:
    return lambda: PlainRecurrent(layer(8, 32, batch_first=True, bidirectional=bidirectional))  # type: ignore[arg-type]


IMAGES, SERIES = Grid(1, 14, 14), Sequence(30, 8)
CASES: dict[str, tuple[Cnn | Rnn | Transformer, Grid | Sequence, Callable[[], nn.Module]]] = {
    "cnn-8-16": (Cnn(channels=(8, 16), pooling="flatten"), IMAGES, lambda: plain_images((8, 16))),
    "cnn-32-64": (Cnn(channels=(32, 64), pooling="flatten"), IMAGES, lambda: plain_images((32, 64))),
    "cnn-series": (Cnn(channels=(32, 32), kernel=(5, 3), pool=1), SERIES, PlainSeries),
    "elman": (Rnn(cell="elman", hidden=32, bidirectional=False), SERIES, plain_recurrent(nn.RNN, False)),
    "gru": (Rnn(hidden=32, bidirectional=False), SERIES, plain_recurrent(nn.GRU, False)),
    "gru-both-ways": (Rnn(hidden=32), SERIES, plain_recurrent(nn.GRU, True)),
    "lstm": (Rnn(cell="lstm", hidden=32, bidirectional=False), SERIES, plain_recurrent(nn.LSTM, False)),
    "transformer": (Transformer(width=32, feedforward=64), SERIES, PlainTransformer),
}


def stacked(
    spec: Cnn | Rnn | Transformer, shape: Grid | Sequence, inputs: tuple[Tensor, ...], y: Tensor, executor: str
) -> float:
    result = lockstep.train(
        lambda: Whole(spec, shape), (inputs, y), epochs=4, batch_size=BATCH, clip_norm=1.0, seeds=NETWORKS, quiet=True,
        schedule=None, executor=executor,
    )  # fmt: skip
    return float(result.history.filter(result.history["epoch"] > 1)["seconds"].min())  # type: ignore[arg-type]


def plain(make: Callable[[], nn.Module], inputs: tuple[Tensor, ...], y: Tensor) -> float:
    modules = [make() for _ in range(NETWORKS)]
    optimizers = [torch.optim.AdamW(module.parameters()) for module in modules]
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        for module, optimizer in zip(modules, optimizers, strict=True):
            for rows in torch.randperm(ROWS).split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(module(*(x[rows] for x in inputs)), y[rows]).backward()
                nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizer.step()
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {NETWORKS} networks, ms per step of all")
    for name in sys.argv[1:] or CASES:
        spec, shape, make = CASES[name]
        y = torch.randint(CLASSES, (ROWS,))
        inputs: tuple[Tensor, ...] = (torch.randn(ROWS, 1, 14, 14),)
        if isinstance(shape, Sequence):
            inputs = (torch.randn(ROWS, shape.length, shape.width), torch.randint(10, shape.length + 1, (ROWS,)))
        ours, eager = (stacked(spec, shape, inputs, y, executor) for executor in ("auto", "eager"))
        loop = plain(make, inputs, y)
        steps = ROWS // BATCH
        print(
            f"{name:15} auto {ours / steps * 1e3:7.1f}   eager {eager / steps * 1e3:7.1f}"
            f"   plain {loop / steps * 1e3:7.1f}   {loop / ours:5.2f} ×",
            flush=True,
        )


if __name__ == "__main__":
    main()
