"""Keyed dropout: a fair coin per element, a pure function of the member's seed, the step, the place and the call."""

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import nn
from torch.func import functional_call, vmap

from lockstep.network.layers.dropout import KeyedDropout, dropout_keys, hash32, key_dropout, keyed_dropouts

Rng = np.random.Generator
SIZE = 100_000


def mask(key: int, p: float = 0.5, size: int = SIZE) -> np.ndarray:
    return KeyedDropout(p).mask((size,), torch.tensor(key, dtype=torch.int32), torch.device("cpu")).numpy()


def some_key(rng: Rng) -> int:
    return int(dropout_keys(rng.integers(0, 2**31, 1), rng.integers(0, 10**6, 1), 1).item())


@pytest.mark.parametrize("p", [0.0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.999, 1.0])
def test_the_share_that_is_kept_is_that_of_a_coin(rng: Rng, p: float) -> None:
    for _ in range(10):
        kept = int(mask(some_key(rng), p).sum())
        low, high = binom.interval(1 - 1e-9, SIZE, 1 - p)
        if p == 1:
            high = 1  # the largest hash of all is kept: one element in 2³², and its scale is 0
        assert low <= kept <= high


def test_masks_of_other_members_steps_and_places_are_unrelated(rng: Rng) -> None:
    seeds = np.array([0, 1, 2, int(rng.integers(3, 2**31))])
    keys = dropout_keys(seeds, np.array([0, 1, 2, int(rng.integers(3, 10**6))]), 3)
    masks = np.stack([mask(int(key)) for key in keys.reshape(-1)])
    correlation = np.corrcoef(masks) - np.eye(len(masks))
    assert np.abs(correlation).max() < 6 / np.sqrt(SIZE)


def test_neighbouring_elements_of_a_mask_are_unrelated(rng: Rng) -> None:
    kept = mask(some_key(rng)).astype(float)
    for lag in (1, 2, 3, 8, 64, 128, 256, 1000, 4096):
        assert abs(np.corrcoef(kept[:-lag], kept[lag:])[0, 1]) < 6 / np.sqrt(SIZE)


def test_calls_of_one_module_in_one_pass_draw_other_masks(rng: Rng) -> None:
    drop = keyed(0.5, some_key(rng))
    masks = np.stack([drop(torch.ones(SIZE)).numpy() > 0 for _ in range(4)])
    assert np.abs(np.corrcoef(masks) - np.eye(4)).max() < 6 / np.sqrt(SIZE)


def test_equal_keys_give_equal_masks(rng: Rng) -> None:
    key, x = some_key(rng), torch.ones(40, 50)
    assert torch.equal(keyed(0.3, key)(x), keyed(0.3, key)(x))
    assert np.array_equal(mask(key, 0.3, 2000).reshape(40, 50), keyed(0.3, key)(x).numpy() > 0)


def keyed(p: float, key: int, *, features: bool = False) -> KeyedDropout:
    drop = KeyedDropout(p, features=features)
    drop.key.fill_(key)
    return drop.train()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_what_is_kept_is_scaled_so_that_the_mean_stays(rng: Rng, p: float) -> None:
    out = keyed(p, some_key(rng))(torch.ones(SIZE, dtype=torch.float64))
    values = out.unique()
    assert len(values) == 2
    torch.testing.assert_close(values, torch.tensor([0, 1 / (1 - p)], dtype=torch.float64), rtol=1e-6, atol=0)
    assert abs(float(out.mean()) - 1) < 6 * np.sqrt(p / (1 - p) / SIZE)


def test_nothing_is_dropped_at_0_and_everything_at_1(rng: Rng) -> None:
    x = torch.randn(1000)
    assert torch.equal(keyed(0.0, some_key(rng))(x), x)
    assert torch.equal(keyed(1.0, some_key(rng))(x), torch.zeros(1000))


def test_eval_mode_drops_nothing(rng: Rng) -> None:
    x = torch.randn(1000)
    assert keyed(0.9, some_key(rng)).eval()(x) is x


@pytest.mark.parametrize("shape", [(50, 40, 6), (50, 40, 3, 2), (50, 40, 2, 2, 2)])
def test_the_feature_forms_drop_whole_channels(rng: Rng, shape: tuple[int, ...]) -> None:
    out = keyed(0.5, some_key(rng), features=True)(torch.ones(shape)).flatten(2)
    assert torch.equal(out, out[:, :, :1].expand_as(out))
    low, high = binom.interval(1 - 1e-9, 2000, 0.5)
    assert low <= int((out[:, :, 0] > 0).sum()) <= high


def test_members_of_a_stack_draw_what_they_draw_alone(rng: Rng) -> None:
    keys = torch.tensor([some_key(rng) for _ in range(4)], dtype=torch.int32)
    drop = KeyedDropout(0.5).train()
    rates = torch.tensor([0.1, 0.3, 0.5, 0.9])
    alone = [KeyedDropout(float(p)) for p in rates]
    buffers = {
        "key": keys,
        "threshold": torch.stack([one.threshold for one in alone]),
        "scale": torch.stack([one.scale for one in alone]),
    }

    def call(own: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        drop.calls = 0
        return functional_call(drop, own, (x,))  # type: ignore[no-any-return]

    x = torch.randn(4, 30, 20)
    fused = vmap(call)(buffers, x)
    for k in range(4):
        assert torch.equal(fused[k], keyed(float(rates[k]), int(keys[k]))(x[k]))


def test_the_hash_is_that_of_unsigned_integers(rng: Rng) -> None:
    edges = [0, 1, -1, 2**31 - 1, -(2**31)]
    x = np.concatenate([edges, rng.integers(-(2**31), 2**31, 10_000)]).astype(np.int32)
    h = x.view(np.uint32).copy()
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x7FEB352D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    assert np.array_equal(hash32(torch.from_numpy(x)).numpy().view(np.uint32), h)


def test_the_hash_gives_every_integer_its_own_value() -> None:
    assert len(hash32(torch.arange(-(2**17), 2**17, dtype=torch.int32)).unique()) == 2**18


def test_keys_are_distinct_and_depend_on_nobody_else(rng: Rng) -> None:
    seeds, steps = rng.choice(10**6, 20, replace=False), rng.choice(10**6, 25, replace=False)
    keys = dropout_keys(seeds, steps, 4)
    assert keys.shape == (25, 20, 4)
    assert keys.dtype == np.int32
    assert len(np.unique(keys)) > keys.size - 4  # 2,000 of 2³²: a birthday pair once in 2,000 runs
    assert np.array_equal(dropout_keys(seeds[3:4], steps[7:8], 2), keys[7:8, 3:4, :2])


def test_key_dropout_swaps_every_dropout_and_leaves_the_rest() -> None:
    inner = nn.Sequential(nn.Dropout1d(0.2), nn.ReLU())
    module = nn.ModuleDict({"a": nn.Dropout(0.1), "b": inner, "c": nn.Dropout3d(0.4), "d": nn.AlphaDropout(0.3)})
    relu, alpha = inner[1], module["d"]
    assert key_dropout(module, torch.float64) is module
    assert [(name, drop.features) for name, drop in keyed_dropouts(module)] == [
        ("a", False),
        ("b.0", True),
        ("c", True),
    ]
    assert module["b"][1] is relu
    assert module["d"] is alpha
    assert {float(drop.scale) for _, drop in keyed_dropouts(module)} == {1 / 0.9, 1 / 0.8, 1 / 0.6}


def test_a_dropout_itself_is_swapped_and_keeps_its_mode() -> None:
    assert key_dropout(nn.Dropout(0.5).eval(), torch.float32).training is False
    assert key_dropout(nn.Dropout2d(0.5), torch.float32).training is True


def test_one_dropout_in_two_places_stays_one() -> None:
    drop = nn.Dropout(0.5)
    module = key_dropout(nn.Sequential(drop, nn.ReLU(), drop), torch.float32)
    assert isinstance(module[0], KeyedDropout)  # type: ignore[index]
    assert module[0] is module[2]  # type: ignore[index]
    assert len(keyed_dropouts(module)) == 1
