"""Images, series and text on their way into a network: shapes, masks, and one fold's rows alone."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from lockstep.network import shapes
from lockstep.network.families import make_body
from lockstep.network.preprocess.columns import fit_columns
from lockstep.network.preprocess.images import ImageShape, fit_pixels
from lockstep.network.preprocess.series import SeriesShape, fit_steps
from lockstep.network.preprocess.table import TableShape, fit_numbers
from lockstep.network.preprocess.tokens import TextShape, fit_tokens
from lockstep.spec import Preprocess
from lockstep.spec.network import Cnn, Rnn, Transformer

Rng = np.random.Generator


def fused(parts: Sequence[nn.Module], *inputs: Tensor) -> list[tuple[Tensor, ...]]:
    """What the stacked parts give, each one's apart."""
    params, buffers = stack_module_state(list(parts))  # type: ignore[arg-type]

    def call(p: dict[str, Tensor], b: dict[str, Tensor]) -> tuple[Tensor, ...]:
        out = functional_call(parts[0], (p, b), inputs)
        return out if isinstance(out, tuple) else (out,)

    return list(zip(*vmap(call)(params, buffers), strict=True))


@pytest.mark.parametrize(
    ("size", "axes", "grid"),
    [
        ((5, 7), None, (1, 5, 7)),
        ((5, 7, 3), (0, 3, 1, 2), (3, 5, 7)),
        ((3, 5, 7), (0, 1, 2, 3), (3, 5, 7)),
        ((1, 28, 28), (0, 1, 2, 3), (1, 28, 28)),
        ((4, 4, 4), (0, 3, 1, 2), (4, 4, 4)),
    ],
)
def test_pixels_of_any_layout_become_channels_height_width(
    rng: Rng, size: tuple[int, ...], axes: tuple[int, ...] | None, grid: tuple[int, int, int]
) -> None:
    images = rng.integers(0, 256, (20, *size)).astype(np.uint8)
    data = ImageShape(size)
    pixels = fit_pixels(data, data.grid, images)
    assert pixels.shape == shapes.Grid(*grid)
    z = (images.astype(np.float64) - images.mean()) / images.std()
    expected = z[:, None] if axes is None else z.transpose(axes)
    np.testing.assert_allclose(pixels(torch.from_numpy(images)), expected, atol=1e-5)


def some_series(rng: Rng, rows: int = 30, steps: int = 7) -> tuple[np.ndarray, np.ndarray, SeriesShape]:
    """Series of two channels, the second of which has gaps."""
    lengths = rng.integers(1, steps + 1, rows)
    lengths[0] = steps
    values = (rng.normal(size=(rows, steps, 2)) * [3, 0.1] + [5, -2]).astype(np.float32)
    values[:, :, 1][rng.random((rows, steps)) < 0.2] = np.nan
    values[np.arange(steps) >= lengths[:, None]] = np.nan
    return values, lengths.astype(np.int64), SeriesShape(steps, 2, np.array([1]))


def test_series_are_standardised_over_the_steps_that_are_there_and_zero_elsewhere(rng: Rng) -> None:
    values, lengths, data = some_series(rng)
    part = fit_steps(data, data.sequence, values, lengths)
    x, mask = part(torch.from_numpy(values), torch.from_numpy(lengths))
    assert part.shape == shapes.Sequence(7, 3)
    assert x.shape == (30, 7, 3)
    assert mask.dtype == torch.bool
    np.testing.assert_array_equal(mask.sum(1), lengths)
    missing = torch.from_numpy(np.isnan(values))
    for channel in range(2):
        there = x[..., channel][~missing[..., channel]].double()
        assert abs(float(there.mean())) < 1e-4
        assert abs(float(there.std(correction=0)) - 1) < 1e-4
    assert (x[..., :2][missing] == 0).all()
    assert torch.equal(x[..., 2].bool(), missing[..., 1] & mask)


def test_flat_series_are_the_sequence_laid_flat(rng: Rng) -> None:
    values, lengths, data = some_series(rng)
    inputs = torch.from_numpy(values), torch.from_numpy(lengths)
    flat = fit_steps(data, data.flat, values, lengths)
    assert flat.shape == shapes.Flat(21)
    assert torch.equal(flat(*inputs), fit_steps(data, data.sequence, values, lengths)(*inputs)[0].flatten(1))


def test_what_stands_behind_the_end_of_a_series_says_nothing(rng: Rng) -> None:
    values, lengths, data = some_series(rng)
    there = np.arange(7) < lengths[:, None]
    other = np.where(there[..., None], values, 1e9).astype(np.float32)
    first, second = (
        fit_steps(data, data.sequence, x, lengths)(torch.from_numpy(x), torch.from_numpy(lengths))
        for x in (values, other)
    )
    torch.testing.assert_close(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_a_channel_that_a_folds_rows_lack_or_hold_constant_is_zero(rng: Rng) -> None:
    values, lengths, data = some_series(rng)
    values[:, :, 0], values[:, :, 1] = np.nan, 3.0
    x, _ = fit_steps(data, data.sequence, values, lengths)(torch.from_numpy(values), torch.from_numpy(lengths))
    assert (x[..., :2] == 0).all()


def test_series_of_a_stack_equal_each_members_alone(rng: Rng) -> None:
    values, lengths, data = some_series(rng)
    parts = [fit_steps(data, data.sequence, values[k::3], lengths[k::3]) for k in range(3)]
    inputs = torch.from_numpy(values), torch.from_numpy(lengths)
    for part, (x, mask) in zip(parts, fused(parts, *inputs), strict=True):
        alone = part(*inputs)
        torch.testing.assert_close(x, alone[0])
        assert torch.equal(mask, alone[1])


def some_tokens(rng: Rng, rows: int = 40, steps: int = 6, size: int = 9) -> tuple[np.ndarray, np.ndarray, TextShape]:
    lengths = rng.integers(1, steps + 1, rows)
    tokens = rng.integers(1, size, (rows, steps)) * (np.arange(steps) < lengths[:, None])
    return tokens.astype(np.int64), lengths.astype(np.int64), TextShape(steps, size)


def test_tokens_become_their_embeddings_with_a_mask_or_their_mean(rng: Rng) -> None:
    tokens, lengths, data = some_tokens(rng)
    inputs = torch.from_numpy(tokens), torch.from_numpy(lengths)
    part = fit_tokens(data, 5, data.sequence(5), tokens)
    x, mask = part(*inputs)
    assert torch.equal(mask, inputs[0] > 0)
    expected = part.embedding.weight[inputs[0]] * (inputs[0] > 0)[..., None]
    torch.testing.assert_close(x, expected)
    flat = fit_tokens(data, 5, data.flat(5), tokens)
    flat.load_state_dict(part.state_dict())
    torch.testing.assert_close(flat(*inputs), expected.sum(1) / inputs[1][:, None])


def test_a_token_that_the_folds_training_rows_lack_is_the_unknown_one(rng: Rng) -> None:
    tokens, lengths, data = some_tokens(rng)
    lacking = int(rng.integers(2, data.vocabulary))
    part = fit_tokens(data, 5, data.sequence(5), tokens[(tokens != lacking).all(1)])
    with torch.no_grad():
        part.embedding.weight.normal_()
    tokens[0, :2], tokens[1, :2], lengths[:2] = [lacking, 2 + (lacking == 2)], [1, 2 + (lacking == 2)], 2
    x, _ = part(torch.from_numpy(tokens), torch.from_numpy(lengths))
    assert torch.equal(x[0], x[1])


def test_tokens_of_a_stack_equal_each_members_alone(rng: Rng) -> None:
    tokens, lengths, data = some_tokens(rng)
    parts = [fit_tokens(data, 5, data.sequence(5), tokens[k::3]) for k in range(3)]
    inputs = torch.from_numpy(tokens), torch.from_numpy(lengths)
    for part, (x, mask) in zip(parts, fused(parts, *inputs), strict=True):
        alone = part(*inputs)
        torch.testing.assert_close(x, alone[0])
        assert torch.equal(mask, alone[1])


def test_the_spelling_of_a_text_stands_beside_its_tokens_and_at_one_length(rng: Rng) -> None:
    tokens, lengths, data = some_tokens(rng)
    spelling = rng.integers(-3, 4, (40, 7)).astype(np.int8)
    spelling[0] = 0
    data = replace(data, spelling=7)
    inputs = torch.from_numpy(tokens), torch.from_numpy(lengths), torch.from_numpy(spelling)
    part = fit_tokens(data, 5, data.sequence(5), tokens)
    x, mask, row = part(*inputs)
    assert part.shape == shapes.Sequence(6, 5, beside=7)
    assert not row[0].any()
    there = torch.linalg.vector_norm(row, dim=1) > 0
    given = inputs[2][there].float()
    torch.testing.assert_close(row[there], 10 * given / given.norm(dim=1, keepdim=True))
    flat = fit_tokens(data, 5, data.flat(5), tokens)
    flat.load_state_dict(part.state_dict())
    assert flat.shape == shapes.Flat(12)
    torch.testing.assert_close(flat(*inputs)[:, 5:], row)
    for family in (Cnn(), Rnn(hidden=4), Transformer(width=8, heads=2)):
        body, width = make_body(family, part.shape)
        body.eval()
        torch.testing.assert_close(body(x, mask, row)[:, -7:], row)
        assert body(x, mask, row).shape == (40, width)


def some_table(rng: Rng) -> tuple[np.ndarray, np.ndarray, TableShape]:
    numbers = rng.normal(size=(50, 3)).astype(np.float32)
    numbers[:, 1] = rng.integers(0, 4, 50)
    numbers[rng.random(50) < 0.3, 2] = np.nan
    codes = np.stack([rng.integers(1, 4, 50), rng.integers(1, 6, 50)], axis=1)
    distinct = tuple(len(np.unique(own[~np.isnan(own)])) for own in numbers.T)
    return numbers, codes, TableShape((5, 7), distinct, np.array([2]))


def test_a_columns_token_is_its_number_times_a_vector_and_its_missing_flag_times_another(rng: Rng) -> None:
    numbers, codes, data = some_table(rng)
    part = fit_columns(Preprocess(token_size=4), data, numbers, codes)
    assert part.shape == shapes.Sequence(5, 4, ordered=False)
    x, mask = part(torch.from_numpy(numbers), torch.from_numpy(codes))
    assert x.shape == (50, 5, 4)
    assert mask.all()
    z = (numbers - np.nanmean(numbers, 0)) / np.nanstd(numbers, 0)
    weight, bias = (p.detach().numpy() for p in (part.numbers.weight, part.numbers.bias))
    expected = np.nan_to_num(z)[:, :, None] * weight[:, 0] + bias
    expected[:, 2] += np.isnan(numbers[:, 2])[:, None] * weight[2, 1]
    np.testing.assert_allclose(x[:, :3].detach(), expected, atol=1e-5)
    table, own = part.categories.embedding.weight, part.categories.bias
    for column, offset in enumerate((0, 5)):
        torch.testing.assert_close(x[:, 3 + column], table[torch.from_numpy(codes)[:, column] + offset] + own[column])


def test_a_piecewise_columns_token_takes_the_bins_that_an_mlp_would(rng: Rng) -> None:
    numbers, codes, data = some_table(rng)
    spec = Preprocess(token_size=4, numbers="piecewise", bins=6)
    part = fit_columns(spec, data, numbers, codes)
    x, _ = part(torch.from_numpy(numbers), torch.from_numpy(codes))
    standard, binned = fit_numbers(spec, data, numbers)
    z, bins = (each(torch.from_numpy(numbers)) for each in (standard, binned))
    for column in range(3):
        own = torch.cat([z[:, column, None], bins[:, binned.columns == column]], dim=1)
        flag = torch.from_numpy(np.isnan(numbers[:, 2:3])).float() if column == 2 else torch.zeros(50, 0)
        inputs = torch.cat([own, flag], dim=1)
        weight = part.numbers.weight[column, : inputs.shape[1]]
        torch.testing.assert_close(x[:, column], inputs @ weight + part.numbers.bias[column])


@pytest.mark.parametrize("lacking", ["numbers", "categories"])
def test_a_table_of_numbers_or_categories_alone_has_tokens_too(rng: Rng, lacking: str) -> None:
    numbers, codes, data = some_table(rng)
    if lacking == "numbers":
        numbers, data = numbers[:, :0], TableShape(data.cardinalities, (), np.zeros(0, dtype=np.int64))
    else:
        codes, data = codes[:, :0], TableShape((), data.distinct, data.gaps)
    part = fit_columns(Preprocess(token_size=4), data, numbers, codes)
    x, _ = part(torch.from_numpy(numbers), torch.from_numpy(codes))
    assert x.shape == (50, part.shape.length, 4)


@pytest.mark.parametrize("kind", ["standard", "robust", "quantile", "piecewise"])
def test_column_tokens_of_a_stack_equal_each_members_alone(rng: Rng, kind: str) -> None:
    numbers, codes, data = some_table(rng)
    parts = [fit_columns(Preprocess(numbers=kind), data, numbers[k::3], codes[k::3]) for k in range(3)]  # type: ignore[arg-type]
    inputs = torch.from_numpy(numbers), torch.from_numpy(codes)
    for part, (x, _) in zip(parts, fused(parts, *inputs), strict=True):
        torch.testing.assert_close(x, part(*inputs)[0])
