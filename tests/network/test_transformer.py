"""Attention and encoder blocks are torch's; rotary positions know distances only; padding changes nothing."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lockstep.errors import SpecError
from lockstep.network.families import make_body, wants
from lockstep.network.families.transformer import Block, into_patches, patches
from lockstep.network.layers.attention import SelfAttention
from lockstep.network.layers.positions import Rotary
from lockstep.network.shapes import Sequence
from lockstep.spec.network import Transformer

Rng = np.random.Generator


def tokens(rng: Rng, rows: int = 5, length: int = 7, width: int = 12) -> tuple[Tensor, Tensor]:
    lengths = torch.from_numpy(rng.integers(1, length + 1, rows))
    return torch.randn(rows, length, width).double(), torch.arange(length) < lengths[:, None]


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_attention_is_torchs_with_the_same_weights_and_padding(rng: Rng, heads: int) -> None:
    theirs, ours = nn.MultiheadAttention(12, heads, batch_first=True).double(), SelfAttention(12, heads).double()
    ours.load_state_dict(theirs.state_dict())
    nn.init.normal_(theirs.in_proj_bias)
    nn.init.normal_(theirs.out_proj.bias)
    ours.load_state_dict(theirs.state_dict())
    x, mask = tokens(rng)
    expected, _ = theirs(x, x, x, key_padding_mask=~mask)
    got = ours(x, mask)
    torch.testing.assert_close(got[mask], expected[mask], rtol=0, atol=1e-12)
    weights = torch.randn_like(expected) * mask[..., None]
    (expected * weights).sum().backward()
    (got * weights).sum().backward()
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad, rtol=0, atol=1e-10)


def test_attention_starts_as_torchs_does() -> None:
    seed = int(np.random.default_rng().integers(2**31))
    torch.manual_seed(seed)
    theirs = nn.MultiheadAttention(12, 3).state_dict()
    torch.manual_seed(seed)
    ours = SelfAttention(12, 3).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_block_is_torchs_pre_norm_encoder_layer(rng: Rng, activation: Any) -> None:
    theirs = nn.TransformerEncoderLayer(
        12, 3, 20, dropout=0.0, activation=activation, batch_first=True, norm_first=True
    ).double()  # fmt: skip
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    spec = Transformer(width=12, heads=3, feedforward=20, activation=activation, dropout=0.0)
    ours = Block(spec, None).double()
    ours.load_state_dict(theirs.state_dict())
    x, mask = tokens(rng)
    expected, got = theirs(x, src_key_padding_mask=~mask), ours(x, mask)
    torch.testing.assert_close(got[mask], expected[mask], rtol=0, atol=1e-10)


def test_a_row_without_tokens_is_finite_and_has_finite_gradients() -> None:
    for pooling in ("mean", "cls"):
        body, _ = make_body(Transformer(width=12, heads=3, pooling=pooling), Sequence(7, 5))
        row = body(torch.full((2, 7, 5), float("nan")), torch.zeros(2, 7, dtype=torch.bool))
        assert row.isfinite().all()
        row.sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in body.parameters())


@pytest.mark.usefixtures("rng")
def test_rotary_scores_depend_on_the_distance_alone() -> None:
    rotary = Rotary(50, 8).double()
    q, k = torch.randn(2, 8).double()
    turned_q, turned_k = rotary(q.expand(50, 8)), rotary(k.expand(50, 8))
    scores = turned_q @ turned_k.T
    for distance in range(-20, 21):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)
    assert float(scores[0].std()) > 1e-3
    torch.testing.assert_close(turned_q.norm(dim=1), q.norm().expand(50), rtol=0, atol=1e-5)


def test_rotary_turns_by_the_formula_of_the_paper() -> None:
    x = torch.randn(6, 4)
    turned = Rotary(6, 4)(x)
    for t in range(6):
        for i, rate in enumerate((1.0, 10_000 ** (-2 / 4))):
            a, b = x[t, i].item(), x[t, i + 2].item()
            c, s = np.cos(t * rate), np.sin(t * rate)
            np.testing.assert_allclose(turned[t, [i, i + 2]], [a * c - b * s, b * c + a * s], atol=1e-5)


@pytest.mark.usefixtures("rng")
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_the_order_of_tokens_matters_with_positions_and_does_not_without(positions: Any) -> None:
    def changed(positions: Any) -> float:
        body, _ = make_body(Transformer(width=12, heads=3, positions=positions), Sequence(7, 5))
        if positions == "learned":
            nn.init.normal_(body.positions.weight)
        body = body.double().eval()
        x, mask = torch.randn(4, 7, 5).double(), torch.ones(4, 7, dtype=torch.bool)
        return float((body(x, mask) - body(x.flip(1), mask)).detach().abs().max())

    assert changed(positions) > 1e-6
    assert changed("none") < 1e-10


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("positions", ["learned", "rotary", "none"])
@pytest.mark.parametrize(("patch", "stride"), [(1, None), (3, None), (4, 2)])
def test_what_stands_at_padding_changes_nothing(
    rng: Rng, pooling: Any, positions: Any, patch: int, stride: int | None
) -> None:
    spec = Transformer(width=12, heads=3, pooling=pooling, positions=positions, patch=patch, stride=stride)
    body, width = make_body(spec, Sequence(11, 5))
    body = body.double().eval()
    x, mask = tokens(rng, length=11, width=5)
    row = body(x, mask)
    assert row.shape == (5, width)
    assert torch.equal(body(torch.where(mask[..., None], x, float("nan")), mask), row)


def test_more_padding_changes_nothing_where_positions_are_not_learned(rng: Rng) -> None:
    for positions in ("rotary", "none"):
        spec = Transformer(width=12, heads=3, positions=positions)
        short, long = (make_body(spec, Sequence(length, 5))[0].double().eval() for length in (7, 10))
        long.load_state_dict(short.state_dict())
        x, mask = tokens(rng, width=5)
        more = torch.cat([x, torch.randn(5, 3, 5)], 1), torch.cat([mask, torch.zeros(5, 3).bool()], 1)
        torch.testing.assert_close(long(*more), short(x, mask), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("length", "patch", "stride"), [(10, 3, 3), (10, 4, 2), (11, 4, 3), (5, 5, 5), (7, 2, 1)])
def test_patches_hold_every_step_in_order(length: int, patch: int, stride: int) -> None:
    x = torch.arange(1.0, length + 1).view(1, length, 1)
    pieces, there = into_patches(x, torch.ones(1, length, dtype=torch.bool), patch, stride)
    assert pieces.shape == (1, patches(length, patch, stride), patch)
    for n, piece in enumerate(pieces[0]):
        expected = [t if t <= length else 0 for t in range(n * stride + 1, n * stride + patch + 1)]
        assert piece.tolist() == expected
    assert set(pieces.flatten().tolist()) - {0.0} == set(range(1, length + 1))
    assert there.all()


def test_columns_have_no_positions_and_no_patches() -> None:
    columns = Sequence(6, 5, ordered=False)
    body, _ = make_body(Transformer(width=12, heads=3), columns)
    assert isinstance(body.positions, nn.Identity)
    assert not isinstance(make_body(Transformer(width=12, heads=3), Sequence(6, 5))[0].positions, nn.Identity)
    for spec in (Transformer(positions="rotary"), Transformer(positions="learned"), Transformer(patch=2)):
        with pytest.raises(SpecError, match=r"have no order.*however: model\.(positions|patch)="):
            make_body(spec, columns)


def test_images_are_refused_and_tables_are_taken() -> None:
    with pytest.raises(SpecError, match=r"two of space.*--recipe cnn"):
        wants(Transformer(), "images")
    assert wants(Transformer(), "table") is wants(Transformer(), "series") is wants(Transformer(), "text") is Sequence


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"width": 10, "heads": 4}, "heads must divide the width, however: 4 heads of width 10"),
        ({"width": 12, "heads": 4, "positions": "rotary"}, "even width, however: 3"),
        ({"patch": 2, "stride": 3}, "stride must be at most the patch, however: stride=3, patch=2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(SpecError, match=why):
        Transformer(**settings)
