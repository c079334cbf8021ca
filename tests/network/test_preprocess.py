"""Preprocessing is fitted on the rows it is given, has the structure that all folds share, and stacks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from lockstep.network.preprocess.images import ImageShape, fit_pixels
from lockstep.network.preprocess.table import (
    BinnedNumbers,
    Categories,
    StandardNumbers,
    TableShape,
    bin_edges,
    fit_numbers,
    fit_table,
)
from lockstep.spec import Preprocess

Rng = np.random.Generator
KINDS = ["standard", "robust", "quantile", "piecewise"]
NO_CODES = np.zeros((0, 0), dtype=np.int64)


def with_gaps(rng: Rng, rows: int, columns: int, share: float = 0.2) -> NDArray[np.float32]:
    x = rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-3, 4, columns) + rng.normal(size=columns) * 0.1
    return np.where(rng.random((rows, columns)) < share, np.nan, x).astype(np.float32)


def shape_of(x: NDArray[np.float32], cardinalities: tuple[int, ...] = ()) -> TableShape:
    distinct = tuple(len(np.unique(own[~np.isnan(own)])) for own in x.T)
    return TableShape(cardinalities, distinct, np.flatnonzero(np.isnan(x).any(0)))


def numbers(kind: str, x: NDArray[np.float32], bins: int = 8) -> list[nn.Module]:
    return fit_numbers(Preprocess(numbers=kind, bins=bins), shape_of(x), x)  # type: ignore[arg-type]


def test_standard_numbers_have_mean_0_and_spread_1_and_the_missing_are_the_mean(rng: Rng) -> None:
    x = with_gaps(rng, 500, 4)
    (part,) = numbers("standard", x)
    z = part(torch.from_numpy(x)).numpy()
    expected = (x - np.nanmean(x.astype(np.float64), 0)) / np.nanstd(x.astype(np.float64), 0)
    np.testing.assert_allclose(z, np.nan_to_num(expected, nan=0), atol=1e-4)
    assert part.width == 4


def test_robust_numbers_are_in_interquartile_ranges_and_stay_within_3(rng: Rng) -> None:
    x = with_gaps(rng, 500, 3)
    x[0] = 1e30
    (part,) = numbers("robust", x)
    z = part(torch.from_numpy(x)).numpy()
    low, centre, high = np.nanquantile(x.astype(np.float64), [0.25, 0.5, 0.75], axis=0)
    plain = (x - centre) / (high - low)
    np.testing.assert_allclose(z[1:], np.nan_to_num(plain / np.sqrt(1 + (plain / 3) ** 2))[1:], atol=1e-4)
    assert np.isfinite(z[1:]).all()
    assert np.abs(z[1:]).max() <= 3


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_beyond_all_that_training_saw_stay_finite(rng: Rng, kind: str) -> None:
    x = with_gaps(rng, 100, 3)
    far = torch.tensor([[3e38] * 3, [-3e38] * 3, [float("inf")] * 3, [float("-inf")] * 3, [float("nan")] * 3])
    for part in numbers(kind, x):
        out = part(far)
        assert not out.isnan().any()
        if kind != "standard" and not isinstance(part, StandardNumbers):
            assert out.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", ["constant", "missing", "two values", "mostly zero"])
def test_difficult_columns_give_finite_numbers(rng: Rng, kind: str, column: str) -> None:
    x = with_gaps(rng, 60, 2)
    x[:, 0] = {
        "constant": np.full(60, 7.5),
        "missing": np.full(60, np.nan),
        "two values": rng.integers(0, 2, 60),
        "mostly zero": np.where(rng.random(60) < 0.9, 0, rng.normal(size=60)),
    }[column]
    for part in numbers(kind, x):
        out = part(torch.from_numpy(x))
        assert out.shape == (60, part.width)
        assert out.isfinite().all()
        assert out.abs().max() < 1e3


values = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60)


@given(values=values, bins=st.integers(2, 12), tests=values)
@settings(max_examples=150, deadline=None)
def test_bins_fill_from_0_to_1_and_never_fall_as_a_number_rises(
    values: list[float], bins: int, tests: list[float]
) -> None:
    edges = bin_edges(np.array(values), bins)
    assert len(edges) == bins + 1
    assert edges[0] == min(values)
    assert edges[-1] == max(values)
    assert (np.diff(edges) >= 0).all()
    assert np.isin(edges, values).all()
    filled = BinnedNumbers([edges])(torch.tensor(sorted(tests), dtype=torch.float64)[:, None])
    assert filled.shape == (len(tests), bins)
    assert ((filled >= 0) & (filled <= 1)).all()
    assert (filled.diff(dim=0) >= 0).all()
    assert (filled.diff(dim=1) <= 0).all()  # a bin fills only when those before it are full


@given(values=st.lists(st.integers(-1000, 1000), min_size=13, max_size=60, unique=True), bins=st.integers(2, 12))
@settings(max_examples=100, deadline=None)
def test_at_the_edge_behind_k_bins_exactly_k_bins_are_full(values: list[int], bins: int) -> None:
    edges = bin_edges(np.array(values, dtype=np.float64), bins)
    assert (np.diff(edges) > 0).all()
    filled = BinnedNumbers([edges])(torch.from_numpy(edges)[:, None])
    assert filled.sum(1).tolist() == pytest.approx(list(range(bins + 1)), abs=1e-5)
    middle = torch.from_numpy((edges[:-1] + edges[1:]) / 2)[:, None]
    assert BinnedNumbers([edges])(middle).sum(1).tolist() == pytest.approx([k + 0.5 for k in range(bins)], abs=1e-4)


def test_a_column_that_is_nine_tenths_zero_still_has_bins_that_tell_its_values_apart(rng: Rng) -> None:
    x = np.where(rng.random(2000) < 0.9, 0.0, rng.exponential(size=2000))
    edges = bin_edges(x, 16)
    assert edges[1] == 0  # the zeros are one bin, without width: a step that says "more than zero"
    assert (np.diff(edges[1:]) > 0).all()
    counts = np.histogram(x[x > 0], edges[1:])[0]
    assert counts.min() > 0.5 * counts.mean()
    assert counts.max() < 1.5 * counts.mean()
    part = BinnedNumbers([edges])
    assert part(torch.tensor([[0.0], [1e-3]]))[:, 0].tolist() == [0, 1]
    filled = part(torch.from_numpy(np.unique(x))[:, None]).sum(1)
    assert (filled.diff() > 0).all()


def test_heavy_values_anywhere_count_as_a_bin_each(rng: Rng) -> None:
    heavy = [-3.0, 1.0, 2.5]
    x = np.concatenate([np.repeat(heavy, 1000), rng.normal(size=500)])
    edges = bin_edges(x, 10)
    assert np.isin(heavy, edges).all()
    assert (np.diff(edges[1:]) > 0).all()


def test_bins_hold_about_equal_counts(rng: Rng) -> None:
    x = rng.exponential(size=4000)
    counts = np.histogram(x, bin_edges(x, 16))[0]
    assert counts.min() > 240
    assert counts.max() < 260


def test_few_values_have_an_edge_each(rng: Rng) -> None:
    assert bin_edges(rng.choice([1.0, 2.0, 5.0], 100), 8).tolist() == [1, 2, 5, 5, 5, 5, 5, 5, 5]
    assert bin_edges(np.array([np.nan, 3.0, 3.0]), 2).tolist() == [3, 3, 3]


def test_a_missing_number_is_empty_in_every_bin() -> None:
    assert BinnedNumbers([np.array([0.0, 1.0, 2.0])])(torch.tensor([[float("nan")]])).tolist() == [[0, 0]]


def test_quantile_numbers_are_normal_whatever_the_column_is(rng: Rng) -> None:
    x = np.exp(rng.normal(size=(3000, 2)) * 2).astype(np.float32)
    (part,) = numbers("quantile", x, bins=100)
    z = part(torch.from_numpy(x)).numpy()
    ranks = (x.argsort(0).argsort(0) + 0.5) / 3000
    inside = (ranks > 0.02) & (ranks < 0.98)
    assert (np.abs(norm.cdf(z) - ranks)[inside] < 1 / 100).all(), "a rank is never off by a whole bin"
    # In z the same error grows towards the tails, where the normal bends within a bin.
    middle = (ranks > 0.05) & (ranks < 0.95)
    np.testing.assert_allclose(z[middle], norm.ppf(ranks)[middle], atol=0.05)
    assert part(torch.tensor([[float("nan")] * 2])).tolist() == [[0, 0]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_structure_is_the_same_for_folds_that_lack_values(rng: Rng, kind: str) -> None:
    whole = with_gaps(rng, 100, 5)
    whole[:, 1], whole[:, 2] = rng.integers(0, 3, 100), 4.0
    codes = np.stack([rng.integers(0, 6, 100), rng.integers(0, 40, 100)], axis=1)
    shape, spec = shape_of(whole, (6, 40)), Preprocess(numbers=kind, bins=8, onehot_max=10)  # type: ignore[arg-type]
    poor = whole[:3].copy()
    poor[:, 0], poor[:, 1] = np.nan, 1.0
    tables = [fit_table(spec, shape, x, c) for x, c in ((whole, codes), (poor, codes[:3]), (whole[:1], codes[:1]))]
    shapes = [{name: t.shape for name, t in table.state_dict().items()} for table in tables]
    assert shapes[0] == shapes[1] == shapes[2]
    for table in tables:
        out = table(torch.from_numpy(whole), torch.from_numpy(codes))
        assert out.shape == (100, tables[0].shape.width)
        assert out.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_of_tables_gives_what_each_gives_alone(rng: Rng, kind: str) -> None:
    whole, codes = with_gaps(rng, 80, 4), np.stack([rng.integers(0, 5, 80), rng.integers(0, 30, 80)], axis=1)
    shape, spec = shape_of(whole, (5, 30)), Preprocess(numbers=kind, bins=6, onehot_max=10)  # type: ignore[arg-type]
    tables = [fit_table(spec, shape, whole[k::4], codes[k::4]) for k in range(4)]
    form = tables[0].to("meta")
    tables[0] = fit_table(spec, shape, whole[::4], codes[::4])
    params, _ = stack_module_state(tables)  # type: ignore[arg-type]
    buffers = {name: torch.stack([dict(t.named_buffers())[name] for t in tables]) for name, _ in form.named_buffers()}
    x, c = torch.from_numpy(whole), torch.from_numpy(codes)

    def call(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        return functional_call(form, (p, b), (x, c))  # type: ignore[no-any-return]

    fused = vmap(call)(params, buffers)
    for k in range(4):
        torch.testing.assert_close(fused[k], tables[k](x, c))


def test_categories_are_onehot_without_a_place_for_the_unseen() -> None:
    part = Categories([4], np.array([False, True, True, True]), onehot_max=3, size=2)
    assert part.width == 3
    assert part(torch.tensor([[0], [1], [2], [3]])).tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_category_that_the_folds_training_rows_lack_is_as_one_never_seen() -> None:
    codes = np.array([[1, 2], [2, 9], [2, 7]])
    shape = TableShape((4, 12), (), np.zeros(0, dtype=np.int64))
    part = fit_table(Preprocess(onehot_max=5, embedding_size=3), shape, np.zeros((3, 0), dtype=np.float32), codes)
    out = part(torch.zeros(5, 0), torch.tensor([[1, 2], [3, 8], [0, 0], [2, 9], [3, 7]]))
    assert out.shape == (5, 3 + 3)
    assert torch.equal(out[1], out[2])
    assert out[1].tolist() == [0] * 6
    assert out[3, :3].tolist() == [0, 1, 0]
    assert out[4, :3].tolist() == [0, 0, 0]
    assert (out[4, 3:] != 0).all()


def test_columns_of_many_values_are_embedded_and_those_of_few_are_not() -> None:
    known = np.ones(6 + 8, dtype=bool)
    part = Categories([6, 8], known, onehot_max=5, size=3)
    assert part.embedded == [1]
    assert part.width == 5 + 3
    assert Categories([6, 8], known, onehot_max=7, size=3).embedded == []
    assert Categories([6, 8], known, onehot_max=0, size=3).width == 6


def test_the_missing_of_a_category_is_a_value_of_its_own() -> None:
    part = Categories([3], np.ones(3, dtype=bool), onehot_max=5, size=2)
    assert part(torch.tensor([[1]])).tolist() == [[1, 0]]


def test_a_table_flags_what_is_missing(rng: Rng) -> None:
    x = with_gaps(rng, 50, 3, share=0.0)
    x[::5, 1] = np.nan
    table = fit_table(Preprocess(), shape_of(x), x, NO_CODES)
    out = table(torch.from_numpy(x), torch.zeros(50, 0, dtype=torch.int64))
    assert table.shape.width == out.shape[1] == 4
    assert np.array_equal(out[:, 3].numpy(), np.isnan(x[:, 1]).astype(np.float32))


def test_a_table_of_categories_alone_has_no_numbers() -> None:
    shape = TableShape((3,), (), np.zeros(0, dtype=np.int64))
    table = fit_table(Preprocess(numbers="piecewise"), shape, np.zeros((2, 0), dtype=np.float32), np.array([[1], [2]]))
    assert table(torch.zeros(2, 0), torch.tensor([[1], [2]])).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("shape", [(28, 28), (8, 8, 3)])
def test_pixels_are_standardised_by_one_mean_and_spread_and_laid_flat(rng: Rng, shape: tuple[int, ...]) -> None:
    images = rng.integers(0, 256, (100, *shape)).astype(np.uint8)
    data = ImageShape(images.shape[1:])
    pixels = fit_pixels(data, data.flat, images)
    out = pixels(torch.from_numpy(images))
    assert out.shape == (100, pixels.shape.width)
    assert pixels.shape.width == np.prod(shape)
    assert out.dtype == torch.float32
    flat = images.reshape(100, -1).astype(np.float64)
    np.testing.assert_allclose(out, (flat - flat.mean()) / flat.std(), atol=1e-5)


def test_black_images_give_zeros() -> None:
    black = np.zeros((5, 4, 4), dtype=np.uint8)
    data = ImageShape(black.shape[1:])
    assert (fit_pixels(data, data.flat, black)(torch.from_numpy(black)) == 0).all()
