"""Networks asked together: by kernels where these are made, by torch where not, with the same outputs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lockstep.engine.forward import Lifted, by_torch
from lockstep.engine.native import NoLibrary, library, native_outputs
from lockstep.engine.native.asking import AT_ONCE
from lockstep.engine.stack import lift
from lockstep.network.build import build
from lockstep.network.preprocess.table import TableShape
from lockstep.spec import FitSpec

CPU = torch.device("cpu")
Rng = np.random.Generator


@pytest.fixture(autouse=True)
def _has_compiler() -> None:
    try:
        library(torch.float32)
    except NoLibrary as reason:
        pytest.skip(str(reason))


def table_networks(rng: Rng, N: int) -> tuple[list[nn.Module], tuple[torch.Tensor, torch.Tensor]]:
    """Networks with preprocessing of their own fold, and rows with gaps and categories."""
    numbers = rng.normal(size=(N, 3)).astype(np.float32)
    numbers[rng.random((N, 3)) < 0.1] = np.nan
    codes = rng.integers(0, [4, 30], (N, 2))
    shape = TableShape((4, 30), (N, N, N), np.arange(3))
    networks = []
    for _ in range(4):
        fold = np.sort(rng.choice(N, N // 2, replace=False))
        own = build(FitSpec(), "cross_entropy", 3, shape, (numbers[fold], codes[fold]), np.zeros(len(fold)))
        networks.append(own.eval())
    return networks, (torch.from_numpy(numbers), torch.from_numpy(codes))


def test_kernels_give_the_outputs_of_torch_on_rows_of_any_number(rng: Rng) -> None:
    networks, rows = table_networks(rng, 300)
    stack = lift(networks, CPU)
    ask = native_outputs(stack, rows)
    assert ask is not None
    for N in (300, 1, 17, 0):
        some = tuple(x[:N] for x in rows)
        torch.testing.assert_close(ask(some), by_torch(stack)(some), rtol=1e-4, atol=1e-5)


def test_more_rows_than_go_at_once_come_out_in_order(rng: Rng) -> None:
    networks = [nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).eval() for _ in range(3)]
    stack, x = lift(networks, CPU), torch.from_numpy(rng.normal(size=(2 * AT_ONCE + 5, 2)).astype(np.float32))
    ask = native_outputs(stack, (x,))
    assert ask is not None
    torch.testing.assert_close(ask((x,)), torch.stack([network(x) for network in networks]), rtol=1e-4, atol=1e-5)


def test_nothing_is_compiled_to_ask(rng: Rng, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks, rows = table_networks(rng, 40)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert native_outputs(lift(networks, CPU), rows) is None
    together = Lifted(networks, CPU).outputs([x.numpy() for x in rows])
    assert not list(tmp_path.rglob("*.so"))
    np.testing.assert_allclose(together[1], networks[1](*rows).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_what_is_no_chain_is_asked_by_torch(rng: Rng) -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.inner(x)

    x = torch.from_numpy(rng.normal(size=(9, 4)).astype(np.float32))
    modules = [Around().eval() for _ in range(2)]
    assert native_outputs(lift(modules, CPU), (x,)) is None
    np.testing.assert_allclose(Lifted(modules, CPU).outputs([x])[0], modules[0](x).detach().numpy(), rtol=1e-5)
