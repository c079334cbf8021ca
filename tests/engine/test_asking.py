"""Networks asked together: by kernels where these are made, by torch where not, with the same outputs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lockstep.engine.forward import Lifted, by_torch
from lockstep.engine.native import NoLibrary, by_made_layers, library, native_outputs
from lockstep.engine.stack import lift
from lockstep.network.build import build
from lockstep.network.layers.recurrent import Recurrent
from lockstep.network.preprocess.images import ImageShape
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


def test_pictures_are_asked_as_bytes_and_then_as_numbers(rng: Rng) -> None:
    pixels, shape = rng.integers(256, size=(60, 5, 5), dtype=np.uint8), ImageShape((5, 5))
    networks = [build(FitSpec(), "cross_entropy", 3, shape, (pixels[own],), np.zeros(30)).eval()
                for own in (slice(30), slice(30, 60))]  # fmt: skip
    together = Lifted(networks, CPU)
    expected = np.stack([network(torch.from_numpy(pixels)).detach().numpy() for network in networks])
    for rows in (pixels, pixels.astype(np.float32), pixels.astype(np.float64)):
        np.testing.assert_allclose(together.outputs([rows]), expected, rtol=1e-4, atol=1e-5)


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


def test_layers_that_have_kernels_are_asked_by_them_where_they_are_made(
    rng: Rng, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class States(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = Recurrent("gru", 3, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.cells(x, torch.ones(x.shape[:2], dtype=torch.bool))[1]

    stack, x = lift([States().eval() for _ in range(2)], CPU), torch.from_numpy(rng.normal(size=(5, 7, 3))).float()
    library(torch.float32, "parts")
    fused = by_made_layers(stack)
    assert fused is not stack
    torch.testing.assert_close(by_torch(fused)((x,)), by_torch(stack)((x,)), rtol=1e-4, atol=1e-5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert by_made_layers(stack) is stack
