import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """The tensors of tests are too small to share, and sums must not depend on how many threads share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh in every run; torch's stream starts there too."""
    seed = int(np.random.default_rng().integers(2**31))
    print("seed", seed)  # shown when a test fails
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """``real_data("adult")``: the folder of that name under ``$LOCKSTEP_DATA``; the test skips where it is not."""

    def find(name: str) -> Path:
        root = os.environ.get("LOCKSTEP_DATA")
        if not root:
            pytest.skip(f"LOCKSTEP_DATA is not set; it names the folder that holds {name}")
        path = Path(root) / name
        if not path.exists():
            pytest.skip(f"there is no {name} in {root}")
        return path

    return find
