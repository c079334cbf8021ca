"""How many rows go through a stack at once."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lockstep.engine.forward import FEWEST, HELD, MOST, in_passes

Rng = np.random.Generator


def passes(rows: int, members: int, numbers: int) -> tuple[Tensor, list[int]]:
    """The row's own number as its output, and how many rows went through at a time where each makes ``numbers``."""
    sizes = []

    def outputs(part: slice) -> Tensor:
        own = torch.arange(rows)[part].float().repeat(members, 1)
        sizes.append(own.shape[1])
        own[:, :, None].expand(-1, -1, numbers).clone()
        return own

    return in_passes(outputs, rows, members), sizes


def test_outputs_come_in_the_order_of_the_rows_whatever_the_passes(rng: Rng) -> None:
    for rows in (0, 1, FEWEST, FEWEST + 1, *rng.integers(2, 50_000, 3).tolist()):
        found, sizes = passes(rows, 2, 3)
        assert torch.equal(found, torch.arange(rows).float().repeat(2, 1))
        assert sum(sizes) == rows


def test_of_small_rows_more_and_more_go_through_at_once() -> None:
    assert passes(20_000, 2, 3)[1] == [64, 256, 1024, 4096, MOST // 2, 20_000 - 5440 - MOST // 2]
    assert max(passes(1000, 5000, 1)[1]) == FEWEST  # many networks: few rows of each


@pytest.mark.parametrize("numbers", [2_000, 20_000])
def test_of_large_rows_no_more_go_through_than_memory_is_meant_for(numbers: int) -> None:
    sizes = passes(2_000, 2, numbers)[1]
    assert FEWEST < max(sizes) < 2_000
    assert max(sizes) * 2 * numbers * 4 <= HELD


def test_of_rows_that_are_huge_the_fewest_go_through() -> None:
    assert set(passes(4 * FEWEST, 1, HELD // 4 // FEWEST)[1]) == {FEWEST}
