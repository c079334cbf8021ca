"""Probabilities where a loss takes logits are found by the operation that they came out of."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lockstep
from lockstep.errors import SpecError
from lockstep.network.checks import check_logits, last_operation

Last = Callable[[Tensor], Tensor]
WRONG: list[tuple[str, str, Last]] = [
    ("Softmax", "cross_entropy", nn.Softmax(dim=1)),
    ("Softmax", "cross_entropy", lambda z: z.softmax(-1).unsqueeze(0).squeeze(0)),
    ("Sigmoid", "cross_entropy", nn.Sigmoid()),
    ("Sigmoid", "binary_cross_entropy", nn.Sigmoid()),
    ("Sigmoid", "binary_cross_entropy", lambda z: torch.sigmoid(z)[:, 0]),
    ("Sigmoid", "binary_cross_entropy", lambda z: z[:, :1].sigmoid().reshape(-1)),
    ("Softmax", "binary_cross_entropy", lambda z: z.softmax(1)[:, 1]),
    ("LogSoftmax", "binary_cross_entropy", lambda z: z.log_softmax(1)[:, 1:]),
]
RIGHT: list[tuple[str, Last]] = [
    ("cross_entropy", nn.Identity()),
    ("cross_entropy", nn.LogSoftmax(dim=1)),  # the log-softmax of a log-softmax is itself
    ("cross_entropy", lambda z: z.softmax(1).log()),
    ("cross_entropy", lambda z: z.sigmoid() @ torch.ones(3, 3)),
    ("binary_cross_entropy", lambda z: z[:, 0]),
    ("mse", nn.Sigmoid()),
    ("mae", nn.Softmax(dim=1)),
    ("", nn.Softmax(dim=1)),  # a loss function of the user's own
]


class Net(nn.Module):
    def __init__(self, last: Last) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 3)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x))


@pytest.mark.parametrize(("operation", "loss", "last"), WRONG)
def test_probabilities_for_a_loss_on_logits_are_refused_with_the_reason(operation: str, loss: str, last: Last) -> None:
    with pytest.raises(SpecError) as caught:
        check_logits(Net(last)(torch.randn(2, 4)), loss)
    assert str(caught.value).startswith(f"{loss} takes logits and has the ")
    assert f"however the network ends in {operation}: a s" in str(caught.value)
    assert str(caught.value).endswith("Leave that out of the network.")


@pytest.mark.parametrize(("loss", "last"), RIGHT)
def test_all_else_is_taken(loss: str, last: Last) -> None:
    check_logits(Net(last)(torch.randn(2, 4)), loss)


def test_an_output_that_no_operation_made_says_nothing() -> None:
    assert last_operation(torch.zeros(3)) == ""
    assert "Accumulate" in last_operation(torch.zeros(3, requires_grad=True)[None])  # a parameter


@pytest.mark.parametrize(("loss", "last"), [WRONG[0][1:], WRONG[3][1:]])
def test_train_refuses_them_before_it_trains(loss: Any, last: nn.Module) -> None:
    x = torch.randn(20, 4)
    y = torch.randint(0, 2, (20,))
    outputs = 3 if loss == "cross_entropy" else 1
    with pytest.raises(SpecError, match="takes logits"), torch.no_grad():
        lockstep.train(
            lambda: nn.Sequential(nn.Linear(4, outputs), last), (x, y), loss=loss, epochs=1, batch_size=10, quiet=True
        )
