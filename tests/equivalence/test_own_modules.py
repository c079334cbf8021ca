"""Users' own modules: in a stack as alone as in a plain torch loop, in float64, whatever their forward does."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from every import distance
from plain import PlainResult, train_plainly
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import lockstep

ROWS, T, CLASSES = 48, 5, 3


class ResidualOfTwo(nn.Module):
    """Two inputs, a code and numbers, and residual blocks."""

    def __init__(self, width: int = 8, blocks: int = 2) -> None:
        super().__init__()
        self.table, self.first = nn.Embedding(4, 3), nn.Linear(T + 3, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(0.2))
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor, code: Tensor, *, scale: float = 1.0) -> Tensor:
        h = self.first(torch.cat([x, self.table(code)], dim=1)) * scale
        for block in self.blocks:
            h = h + block(h)
        return self.head(h)


class RecurrentOfTwo(nn.Module):
    """The same two inputs, the numbers as a series."""

    def __init__(self, kind: type[nn.RNNBase], **settings: Any) -> None:
        super().__init__()
        self.table, self.cells = nn.Embedding(4, 3), kind(1, 6, batch_first=True, **settings)  # type: ignore[arg-type]
        self.block = nn.Sequential(nn.Linear(6 + 3, 9), nn.Tanh(), nn.Dropout(0.2))
        self.head = nn.Linear(9, CLASSES)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        h = torch.cat([self.cells(x[..., None])[0][:, -1, :6], self.table(code)], dim=1)
        return self.head(h + self.block(h))


class Packed(RecurrentOfTwo):
    """Rows of several lengths, packed."""

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        packed = pack_padded_sequence(x[..., None], (code + 2).cpu(), batch_first=True, enforce_sorted=False)
        h, _ = pad_packed_sequence(self.cells(packed)[0], batch_first=True)
        h = torch.cat([h.mean(1), self.table(code)], dim=1)
        return self.head(h + self.block(h))


class Alone(nn.Module):
    """What torch.func refuses: a branch on values, noise, dropout in the forward, a parameter set by the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(T, 8), nn.BatchNorm1d(8), nn.Dropout(0.3)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        if self.training:
            self.head.weight.data = self.head.weight.data.clamp(-0.5, 0.5)
            x = x + 0.1 * torch.randn_like(x)
        h = self.drop(torch.relu(self.norm(self.first(x))))
        return self.head(F.dropout(h, 0.2, self.training)) * (2 if h.sum() > 20 else 1)


class Norms(nn.Module):
    """Batch norm in every form: with and without averages, affine or not, over rows and over channels."""

    def __init__(self, momentum: float | None = 0.2) -> None:
        super().__init__()
        self.first = nn.Linear(T, 8)
        self.plain = nn.BatchNorm1d(8, affine=False)
        self.series = nn.BatchNorm1d(2, momentum=momentum)
        self.image = nn.BatchNorm2d(2, momentum=0.3)
        self.untracked = nn.BatchNorm1d(8, track_running_stats=False)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        h = self.series(self.plain(self.first(x)).unflatten(1, (2, 4)))
        h = self.image(torch.tanh(h).unflatten(2, (2, 2))).flatten(1)
        return self.head(self.untracked(torch.relu(h)))


class Tied(nn.Module):
    """One matrix in two places, one layer in two places, a parametrized layer, a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.forth, self.back = nn.Linear(T, T), nn.Linear(T, T)
        self.back.weight = self.forth.weight
        self.again = parametrizations.weight_norm(nn.Linear(T, T))
        self.fixed = nn.Linear(T, T).requires_grad_(False)
        self.head = parametrizations.orthogonal(nn.Linear(T, CLASSES))

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        h = torch.tanh(self.back(torch.tanh(self.forth(x))))
        return self.head(self.fixed(self.again(torch.tanh(self.again(h)))))


MODULES: dict[str, tuple[Callable[[], nn.Module], bool]] = {  # and whether they stack
    "residual": (ResidualOfTwo, True),
    "norms": (Norms, True),
    "plain means": (lambda: Norms(None), False),
    "tied": (Tied, True),
    "lstm": (lambda: RecurrentOfTwo(nn.LSTM), True),  # in float64; in float32 torch has a faster form that does not
    "gru": (lambda: RecurrentOfTwo(nn.GRU, num_layers=2, bidirectional=True), True),
    "rnn": (lambda: RecurrentOfTwo(nn.RNN, nonlinearity="relu"), True),
    "packed": (lambda: Packed(nn.LSTM), False),
    "alone": (Alone, False),
}


def data(rng: np.random.Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
    x, code = torch.from_numpy(rng.normal(size=(ROWS, T))), torch.from_numpy(rng.integers(0, 4, ROWS))
    return (x, code), (x.sum(1) + code).long() % CLASSES


def train(make: Callable[[], nn.Module], rows: Any, **settings: Any) -> lockstep.Result:
    settings = {"epochs": 6, "seeds": 2, "seed": 3, "optimizer": lockstep.AdamW(lr=[1e-2, 3e-3])} | settings
    return lockstep.train(
        lambda: make().double(), rows, rows, batch_size=12, clip_norm=1.0, quiet=True, device="cpu", **settings
    )


RUNS = [
    (name, executor) for name, (_, stacks) in MODULES.items() for executor in ["eager", "cudagraph"][: 1 + stacks]
]  # no other takes two inputs
MEMBERS = 4


@cache
def plainly(name: str) -> tuple[int, Any, dict[int, PlainResult]]:  # noqa: ARG001  (one for each)
    """Data of its own for a module, and what a plain torch loop makes of each member, as far as it is known."""
    seed = int(np.random.default_rng().integers(2**31))
    return seed, data(np.random.default_rng(seed)), {}


@pytest.mark.parametrize(("name", "executor"), RUNS)
def test_every_member_ends_where_a_plain_torch_loop_ends_and_where_it_ends_alone(name: str, executor: str) -> None:
    make, stacks = MODULES[name]
    seed, rows, known = plainly(name)
    print("seed", seed)  # shown when a test fails
    inputs, y = rows
    together = train(make, rows, executor=executor)
    assert [stack.mapped for stack in together.trained.stacks] == ([True] if stacks else [False] * MEMBERS)
    assert [finding.code for finding in together.findings] == ([] if stacks else ["not-stacked"])
    for member in together.members:
        if member.index not in known:
            torch.manual_seed(member.seed)
            twice = [torch.cat([x, x]) for x in inputs], torch.cat([y, y])
            known[member.index] = train_plainly(make().double(), member, *twice, F.cross_entropy)
        assert distance(together.member(member.index), known[member.index].best) < 1e-9
    alone = train(make, rows, executor=executor, members=[2])
    assert distance(alone.member(2), together.member(2)) < 1e-9
    np.testing.assert_allclose(alone.predict(inputs)[0], together.predict(inputs)[2], rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        np.testing.assert_allclose(together.predict(inputs)[2], together.member(2)(*inputs), rtol=1e-9, atol=1e-12)


def test_in_float32_an_lstm_trains_member_by_member_says_why_and_follows_a_plain_torch_loop(
    rng: np.random.Generator,
) -> None:
    (x, code), y = data(rng)
    rows = ((x.float(), code), y)
    result = lockstep.train(
        lambda: RecurrentOfTwo(nn.LSTM), rows, rows, epochs=3, batch_size=12, seeds=2, quiet=True, device="cpu"
    )
    (finding,) = result.findings
    assert finding.evidence.startswith("torch cannot run cells (LSTM) of several networks at once")
    for member in result.members:
        torch.manual_seed(member.seed)
        twice = [torch.cat([part, part]) for part in rows[0]], torch.cat([y, y])
        module = RecurrentOfTwo(nn.LSTM)
        plain = train_plainly(module, member, *twice, F.cross_entropy)
        own = result.history.filter(member=member.index)
        np.testing.assert_allclose(own["train_loss"], plain.train_losses, rtol=1e-4)
        np.testing.assert_allclose(own["valid_loss"], plain.valid_losses, rtol=1e-4)
