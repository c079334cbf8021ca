"""The recurrent layers are torch's own on packed sequences; padding changes nothing."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lockstep.errors import SpecError
from lockstep.network.families import make_body, wants
from lockstep.network.layers.recurrent import Recurrent
from lockstep.network.shapes import Sequence
from lockstep.spec.network import Rnn

Rng = np.random.Generator

CELLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "elman": (nn.RNN, {}),
    "elman relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
}


def pair(name: str, features: int, hidden: int, layers: int, bidirectional: bool) -> tuple[Recurrent, nn.RNNBase]:
    """Ours and torch's, with the same weights, in float64."""
    make, more = CELLS[name]
    theirs = make(features, hidden, layers, batch_first=True, bidirectional=bidirectional, **more).double()
    ours = Recurrent(
        name.split()[0], features, hidden, layers=layers, bidirectional=bidirectional, **more
    ).double()  # fmt: skip
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def sequences(rng: Rng, rows: int = 6, length: int = 9, features: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Sequences of lengths 1 to ``length``, one as long as that, with garbage behind them; mask; lengths."""
    lengths = torch.from_numpy(rng.integers(1, length + 1, rows))
    lengths[rng.integers(rows)] = length
    return torch.randn(rows, length, features).double(), torch.arange(length) < lengths[:, None], lengths


@pytest.mark.parametrize(("name", "layers", "bidirectional"), list(product(CELLS, (1, 2), (False, True))))
def test_states_final_state_and_gradients_are_torchs_on_a_packed_sequence(
    rng: Rng, name: str, layers: int, bidirectional: bool
) -> None:
    ours, theirs = pair(name, 4, 5, layers, bidirectional)
    x, mask, lengths = sequences(rng)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    out, final = theirs(packed)
    expected, _ = pad_packed_sequence(out, batch_first=True)
    last = (final[0] if isinstance(final, tuple) else final)[-2 if bidirectional else -1 :]
    states, ours_last = ours(x, mask)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours_last, last.transpose(0, 1).flatten(1), rtol=0, atol=1e-10)

    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (states * weights).sum().backward()
    for key, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(key).grad, parameter.grad, rtol=0, atol=1e-10)


def test_steps_that_are_not_there_are_skipped_wherever_they_stand(rng: Rng) -> None:
    for name in CELLS:
        ours, _ = pair(name, 4, 5, 1, True)
        x = torch.randn(3, 5, 4).double()
        keep = np.sort(rng.permutation(9)[:5])
        wide, mask = torch.randn(3, 9, 4).double(), torch.zeros(3, 9, dtype=torch.bool)
        wide[:, keep], mask[:, keep] = x, True
        states, last = ours(wide, mask)
        dense, dense_last = ours(x, torch.ones(3, 5, dtype=torch.bool))
        torch.testing.assert_close(last, dense_last, rtol=0, atol=1e-12)
        torch.testing.assert_close(states[:, keep], dense, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_neither_the_content_nor_the_amount_of_padding_changes_a_row(rng: Rng, cell: Any, pooling: Any) -> None:
    body, width = make_body(Rnn(cell=cell, hidden=6, layers=2, pooling=pooling, dropout=0.3), Sequence(9, 4))
    body = body.double().eval()
    x, mask, _ = sequences(rng)
    row = body(x, mask)
    assert row.shape == (6, width)
    other = torch.where(mask[..., None], x, float(rng.normal()) * 100)
    assert torch.equal(body(other, mask), row)
    more = body(torch.cat([x, torch.randn(6, 4, 4).double()], 1), torch.cat([mask, torch.zeros(6, 4).bool()], 1))
    torch.testing.assert_close(more, row, rtol=0, atol=1e-12)


def test_a_row_without_any_step_is_finite_and_has_finite_gradients() -> None:
    for pooling in ("last", "mean", "max"):
        body, _ = make_body(Rnn(hidden=6, pooling=pooling), Sequence(5, 4))
        x, mask = torch.full((2, 5, 4), float("nan")), torch.zeros(2, 5, dtype=torch.bool)
        row = body(x, mask)
        assert torch.equal(row, torch.zeros_like(row))
        row.sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in body.parameters())


def test_pooling_is_over_the_steps_that_are_there(rng: Rng) -> None:
    x, mask, lengths = sequences(rng)
    for pooling, reduce in (("mean", lambda s: s.mean(0)), ("max", lambda s: s.amax(0))):
        body, _ = make_body(Rnn(hidden=6, pooling=pooling), Sequence(9, 4))
        body = body.double().eval()
        states, _ = body.recurrent(x, mask)
        expected = torch.stack([reduce(own[:n]) for own, n in zip(states, lengths, strict=True)])
        torch.testing.assert_close(body(x, mask), expected, rtol=0, atol=1e-12)


def test_the_forget_gate_starts_open_as_far_as_asked() -> None:
    body, _ = make_body(Rnn(cell="lstm", hidden=6, layers=2, forget_bias=1.5), Sequence(5, 4))
    for end in ("l0", "l0_reverse", "l1", "l1_reverse"):
        bias = body.recurrent.get_parameter(f"bias_ih_{end}") + body.recurrent.get_parameter(f"bias_hh_{end}")
        assert torch.equal(bias[6:12], torch.full((6,), 1.5))
        assert not torch.equal(bias[:6], torch.full((6,), 1.5))


def test_dropout_stands_between_layers_and_behind_the_pooling() -> None:
    places = {layers: [name for name, m in make_body(Rnn(layers=layers, dropout=0.2), Sequence(5, 4))[0].named_modules()
              if isinstance(m, nn.Dropout)] for layers in (1, 2)}  # fmt: skip
    assert places == {1: ["dropout"], 2: ["recurrent.dropout", "dropout"]}


@pytest.mark.parametrize(("kind", "why"), [("table", "have no order"), ("images", "two of space")])
def test_data_without_a_time_axis_is_refused_with_the_reason_and_the_remedy(kind: Any, why: str) -> None:
    with pytest.raises(SpecError, match=f"{why}.*however: model.family=rnn.*--recipe"):
        wants(Rnn(), kind)
    assert wants(Rnn(), "series") is wants(Rnn(), "text") is Sequence
