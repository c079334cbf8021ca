"""How many rows go through a stack at once."""

import weakref

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lockstep.engine.forward import FEWEST, HELD, MOST, in_passes
from lockstep.engine.living import Living

Rng = np.random.Generator


def passes(rows: int, members: int, numbers: int, form: nn.Module | None = None) -> tuple[Tensor, list[int]]:
    """The row's own number as its output, and how many rows went through at a time where each makes ``numbers``."""
    sizes = []

    def outputs(part: slice) -> Tensor:
        own = torch.arange(rows)[part].float().repeat(members, 1)
        sizes.append(own.shape[1])
        own[:, :, None].expand(-1, -1, numbers).clone()
        return own

    return in_passes(outputs, rows, members, form or nn.Identity()), sizes


def test_outputs_come_in_the_order_of_the_rows_whatever_the_passes(rng: Rng) -> None:
    form = nn.Identity()
    for rows in (0, 1, FEWEST, FEWEST + 1, *rng.integers(2, 50_000, 3).tolist()):
        found, sizes = passes(rows, 2, 3, form)
        assert torch.equal(found, torch.arange(rows).float().repeat(2, 1))
        assert sum(sizes) == rows


def test_of_small_rows_as_many_go_through_as_are_meant_to_behind_the_first_few_of_a_form() -> None:
    form = nn.Identity()
    assert passes(20_000, 2, 3, form)[1] == [FEWEST, MOST // 2, MOST // 2, 20_000 - FEWEST - MOST]
    assert passes(20_000, 4, 3, form)[1] == [MOST // 4] * 4 + [20_000 - MOST]  # what a row takes is known
    assert max(passes(1000, 5000, 1)[1]) == FEWEST  # many networks: few rows of each


@pytest.mark.parametrize("numbers", [5_000, 50_000])
def test_of_large_rows_no_more_go_through_than_memory_is_meant_for(numbers: int) -> None:
    sizes = passes(5_000, 2, numbers)[1]
    assert FEWEST < max(sizes) < 5_000
    assert HELD / 2 < max(sizes) * 2 * numbers * 4 <= HELD


def test_of_rows_that_are_huge_the_fewest_go_through() -> None:
    assert set(passes(4 * FEWEST, 1, HELD // 4 // FEWEST)[1]) == {FEWEST}


def test_tensors_without_storage_of_their_own_are_no_hindrance() -> None:
    with Living() as living:
        x = torch.eye(8).to_sparse()
        y = torch.sparse.mm(x, torch.ones(8, 2))
    assert living.most >= y.nbytes


def test_nothing_is_left_with_tensors_that_live_on() -> None:
    given, before = torch.ones(10), len(weakref.finalize._registry)  # type: ignore[attr-defined]
    for _ in range(5):
        with Living():
            kept = given + 1
    assert kept.sum() == 20
    assert len(weakref.finalize._registry) == before  # type: ignore[attr-defined]
