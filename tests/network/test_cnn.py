"""Convolutions are torch's, over images and along time; padding changes nothing; wrong pairs are refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.errors import SpecError
from lockstep.network.families import make_body, wants
from lockstep.network.families.cnn import max_over
from lockstep.network.layers.convolution import MaskedBatchNorm, SequenceConv
from lockstep.network.layers.pooling import masked_max, masked_mean
from lockstep.network.shapes import Grid, Sequence
from lockstep.spec.network import Augment, Cnn

Rng = np.random.Generator
SIZES = [((4,), 1, 2), ((4, 4, 6), 2, 2), ((4, 6), 1, 3), ((3, 4), 2, 1)]  # channels, convs, pool


def sequences(rng: Rng, rows: int = 6, length: int = 11, width: int = 4) -> tuple[Tensor, Tensor]:
    lengths = torch.from_numpy(rng.integers(1, length + 1, rows))
    return torch.randn(rows, length, width).double(), torch.arange(length) < lengths[:, None]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 8, 13])
def test_convolution_along_time_is_torchs(rng: Rng, kernel: int) -> None:
    ours = SequenceConv(4, 6, kernel).double()
    theirs = nn.Conv1d(4, 6, kernel, padding="same").double()
    theirs.load_state_dict(ours.state_dict())
    x, _ = sequences(rng)
    torch.testing.assert_close(ours(x), theirs(x.transpose(1, 2)).transpose(1, 2), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("rng")
def test_batch_norm_with_every_step_there_is_torchs_in_outputs_gradients_and_statistics() -> None:
    ours, theirs = MaskedBatchNorm(4).double(), nn.BatchNorm1d(4).double()
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    for _ in range(3):
        x = torch.randn(6, 11, 4).double() * 2 + 1
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        out, expected = ours(a, torch.ones(6, 11, dtype=torch.bool)), theirs(b.flatten(0, 1)).view(6, 11, 4)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
        weights = torch.randn_like(out)
        (out * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=1e-10)
    x = torch.randn(6, 11, 4).double()
    out = ours.eval()(x, torch.ones(6, 11, dtype=torch.bool))
    torch.testing.assert_close(out, theirs.eval()(x.flatten(0, 1)).view(6, 11, 4), rtol=0, atol=1e-10)


def test_batch_norm_counts_the_steps_that_are_there_and_no_others(rng: Rng) -> None:
    ours, theirs = MaskedBatchNorm(4).double(), nn.BatchNorm1d(4).double()
    x, mask = sequences(rng)
    mask[0] = True  # more than one step in all
    out, expected = ours(x, mask), theirs(x[mask])
    torch.testing.assert_close(out[mask], expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=1e-10)


def test_a_plain_stage_over_images_is_convolution_maximum_norm_activation(rng: Rng) -> None:
    body, width = make_body(Cnn(channels=(5,), norm="batch", pooling="mean"), Grid(3, 9, 8))
    conv, bn = (next(m for m in body.modules() if isinstance(m, kind)) for kind in (nn.Conv2d, nn.BatchNorm2d))
    nn.init.normal_(bn.bias)
    x = torch.from_numpy(rng.normal(size=(4, 3, 9, 8))).float()
    expected = F.conv2d(x, conv.weight, padding=1)
    expected = F.relu(F.batch_norm(F.max_pool2d(expected, 2), None, None, bn.weight, bn.bias, training=True))
    assert width == 5
    torch.testing.assert_close(body(x), expected.mean((2, 3)))


@pytest.mark.parametrize("pooling", ["mean", "max", "mean_max", "flatten"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group"])
def test_bodies_over_images_have_the_width_they_say_and_are_trained_in_every_parameter(
    rng: Rng, pooling: Any, residual: bool, norm: Any
) -> None:
    channels, convs, pool = SIZES[rng.integers(len(SIZES))]
    spec = Cnn(
        channels=channels, convs=convs, pool=pool, residual=residual, pooling=pooling, norm=norm, activation="silu",
        init="auto",
    )  # fmt: skip
    body, width = make_body(spec, Grid(3, 13, 10))
    out = body(torch.randn(4, 3, 13, 10))
    assert out.shape == (4, width)
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in body.parameters())
    convolutions = [m for m in body.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == len(channels) * convs
    assert sum(isinstance(m, nn.MaxPool2d) for m in body.modules()) == (len(channels) if pool > 1 else 0)


SEQUENCE_SPECS = {
    "stages": Cnn(channels=(5, 6), kernel=(4, 3), pool=1, pooling="mean_max", dropout=0.2),
    "pooled": Cnn(channels=(5, 6), kernel=(3,), pool=2, pooling="max"),
    "deep": Cnn(channels=(5, 6), convs=2, residual=True, pool=3, norm="layer", activation="gelu"),
    "same width": Cnn(channels=(4, 4), residual=True, pool=1, norm="rms"),
    "parallel": Cnn(layout="parallel", channels=(5,), kernel=(3, 4, 5), norm="none", pool=1, pooling="max"),
}


@pytest.mark.parametrize("name", SEQUENCE_SPECS)
def test_neither_the_content_nor_the_amount_of_padding_changes_a_row(rng: Rng, name: str) -> None:
    body, width = make_body(SEQUENCE_SPECS[name], Sequence(11, 4))
    body = body.double()
    x, mask = sequences(rng)
    body(x, mask)  # running statistics that are not the initial ones
    body.eval()
    row = body(x, mask)
    assert row.shape == (6, width)
    assert torch.equal(body(torch.where(mask[..., None], x, float("nan")), mask), row)
    for missing in (1, 2, 5):
        longer = torch.cat([x, torch.randn(6, missing, 4)], 1), torch.cat([mask, torch.zeros(6, missing).bool()], 1)
        torch.testing.assert_close(body(*longer), row, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SEQUENCE_SPECS)
def test_padding_changes_nothing_while_training_either(rng: Rng, name: str) -> None:
    spec = SEQUENCE_SPECS[name].replace("dropout", 0.0)
    body = make_body(spec, Sequence(11, 4))[0].double()
    x, mask = sequences(rng)
    row = body(x, mask)
    longer = torch.cat([x, torch.randn(6, 3, 4)], 1), torch.cat([mask, torch.zeros(6, 3).bool()], 1)
    torch.testing.assert_close(body(*longer), row, rtol=0, atol=1e-10)


def test_parallel_branches_are_those_of_kim(rng: Rng) -> None:
    body, width = make_body(SEQUENCE_SPECS["parallel"], Sequence(11, 4))
    x, mask = torch.from_numpy(rng.normal(size=(3, 11, 4))).float(), torch.ones(3, 11, dtype=torch.bool)
    convs = [m for m in body.modules() if isinstance(m, SequenceConv)]
    assert [conv.kernel_size for conv in convs] == [(3,), (4,), (5,)]
    padded = [F.pad(x.transpose(1, 2), ((k - 1) // 2, k // 2)) for k in (3, 4, 5)]
    rows = [F.relu(F.conv1d(own, c.weight, c.bias)).amax(2) for own, c in zip(padded, convs, strict=True)]
    assert width == 15
    torch.testing.assert_close(body(x, mask), torch.cat(rows, 1))


def test_a_row_without_any_step_is_finite_and_has_finite_gradients() -> None:
    for spec in SEQUENCE_SPECS.values():
        body, _ = make_body(spec, Sequence(11, 4))
        row = body(torch.full((2, 11, 4), float("nan")), torch.zeros(2, 11, dtype=torch.bool))
        assert row.isfinite().all()
        row.sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in body.parameters())


def test_pooling_is_over_the_steps_that_are_there(rng: Rng) -> None:
    x, mask = sequences(rng)
    for own, mean, best in zip(range(6), masked_mean(x, mask), masked_max(x, mask), strict=True):
        torch.testing.assert_close(mean, x[own][mask[own]].mean(0))
        assert torch.equal(best, x[own][mask[own]].amax(0))
    assert torch.equal(masked_mean(x, mask & False), torch.zeros(6, 4).double())
    assert torch.equal(masked_max(x, mask & False), torch.zeros(6, 4).double())


def test_the_maximum_over_some_steps_drops_none_at_the_end() -> None:
    x, mask = torch.tensor([[1.0, 3, 2, -1, -5]])[..., None], torch.tensor([[True, True, True, False, True]])
    pooled, there = max_over(x, mask, 2)
    assert pooled.flatten().tolist() == [3, 2, -5]
    assert there.tolist() == [[True, True, True]]


def test_a_table_is_refused_with_the_reason_and_the_remedy() -> None:
    with pytest.raises(SpecError, match=r"among neighbours.*however: model.family=cnn on a table. Use --recipe"):
        wants(Cnn(), "table")
    assert wants(Cnn(), "images") is Grid
    assert wants(Cnn(), "series") is wants(Cnn(), "text") is Sequence


@pytest.mark.parametrize(
    ("spec", "shape", "why"),
    [
        (Cnn(layout="parallel", channels=5), Grid(1, 8, 8), "are for series and texts, however: images"),
        (Cnn(kernel=(3, 4)), Grid(1, 8, 8), r"odd width, however: 4. Set model.kernel"),
        (Cnn(channels=(4, 4, 4, 4)), Grid(1, 8, 15), "8 × 15 pixels, 4 stages, pool=2"),
        (Cnn(pooling="flatten"), Sequence(8, 2), "differ in length.*model.pooling=flatten"),
        (Cnn(norm="group"), Sequence(8, 2), "however: model.norm=group"),
        (Cnn(augment=Augment(shift=1)), Sequence(8, 2), "Augmentation is for images"),
        (Cnn(norm="rms"), Grid(1, 8, 8), "RMS norm is over features"),
    ],
)
def test_what_does_not_go_together_is_refused(spec: Cnn, shape: Any, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        make_body(spec, shape)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"channels": ()}, "channels is empty. Set model.channels"),
        ({"kernel": ()}, "kernel is empty. Set model.kernel"),
        ({"channels": (4, 8), "kernel": (3, 5, 7)}, "3 widths, 2 stages. Set model.kernel"),
        ({"layout": "parallel", "channels": (4, 8)}, r"however: channels=\(4, 8\)"),
        ({"layout": "parallel", "channels": (4,), "residual": True}, "residual=True. Set model.layout=stages"),
        ({"layout": "parallel", "channels": (4,), "convs": 2}, "convs=2. Set model.layout=stages"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(SpecError, match=why):
        Cnn(**settings)
