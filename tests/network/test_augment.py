"""Augmentation: every image moves as drawn, by the member's own key, and only while training."""

import numpy as np
import pytest
import torch
from torch.func import functional_call, vmap

from lockstep.network.layers.augment import Augment, KeyedAugment, changed
from lockstep.network.layers.dropout import dropout_keys, key_dropout, keyed_dropouts

Rng = np.random.Generator


def by_hand(image: np.ndarray, drawn: np.ndarray, flip: bool, shift: int, cutout: int) -> np.ndarray:
    """One image ``[C, height, width]``, pixel by pixel."""
    _, height, width = image.shape
    out = np.empty_like(image)
    down, right = drawn[1] % (2 * shift + 1) - shift, drawn[2] % (2 * shift + 1) - shift
    top, left = drawn[3] % height - cutout // 2, drawn[4] % width - cutout // 2
    for i in range(height):
        for j in range(width):
            y, x = min(max(i + down, 0), height - 1), min(max(j + right, 0), width - 1)
            out[:, i, j] = image[:, y, width - 1 - x if flip and drawn[0] % 2 else x]
            if top <= i < top + cutout and left <= j < left + cutout:
                out[:, i, j] = 0
    return out


@pytest.mark.parametrize(("flip", "shift", "cutout"), [(True, 0, 0), (False, 2, 0), (False, 0, 3), (True, 3, 4)])
def test_every_image_is_changed_as_drawn(rng: Rng, flip: bool, shift: int, cutout: int) -> None:
    x, drawn = rng.normal(size=(20, 3, 7, 6)), rng.integers(0, 2**31, (20, 5))
    out = changed(torch.from_numpy(x), torch.from_numpy(drawn), flip, shift, cutout)
    expected = np.stack([by_hand(image, own, flip, shift, cutout) for image, own in zip(x, drawn, strict=True)])
    assert np.array_equal(out, expected)


def keyed(seed: int, step: int = 0) -> KeyedAugment:
    module = KeyedAugment(True, 2, 3)
    module.key.fill_(int(dropout_keys(np.array([seed]), np.array([step]), 1).item()))
    return module.train()


def test_members_of_a_stack_see_the_images_they_see_alone(rng: Rng) -> None:
    x = torch.from_numpy(rng.normal(size=(4, 9, 1, 6, 6)))
    alone = [keyed(seed) for seed in range(4)]
    keys = torch.stack([one.key for one in alone])
    form = KeyedAugment(True, 2, 3)

    def call(key: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        form.calls = 0
        return functional_call(form, {"key": key}, (own,))  # type: ignore[no-any-return]

    fused = vmap(call)(keys, x)
    for k in range(4):
        assert torch.equal(fused[k], alone[k](x[k]))


def test_shifts_and_flips_are_evenly_drawn_and_anew_at_each_step(rng: Rng) -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 3] = 1
    seed = int(rng.integers(2**31))
    seen = torch.cat([keyed_shift(seed, step)(image.expand(500, 1, 9, 9)) for step in range(20)])
    places = seen.flatten(1).argmax(1)
    counts = np.bincount(places, minlength=81).reshape(9, 9)
    assert counts[2:7, 1:8].sum() == 10_000  # ±2 about column 3, and about column 5 where flipped
    column = counts.sum(0)[1:8] / 10_000
    expected = np.array([1, 1, 2, 2, 2, 1, 1]) / 10
    assert np.abs(column - expected).max() < 6 * 0.5 / 100
    assert np.abs(counts.sum(1)[2:7] / 10_000 - 0.2).max() < 6 * 0.4 / 100


def keyed_shift(seed: int, step: int) -> KeyedAugment:
    module = KeyedAugment(True, 2, 0)
    module.key.copy_(keyed(seed, step).key)
    return module.train()


def test_in_eval_mode_nothing_is_changed(rng: Rng) -> None:
    x = torch.from_numpy(rng.normal(size=(9, 1, 6, 6)))
    assert keyed(1).eval()(x) is x
    assert Augment(True, 2, 3).eval()(x) is x
    assert not torch.equal(Augment(True, 2, 3)(x), x)


def test_in_a_stack_the_keyed_form_stands_in() -> None:
    module = key_dropout(torch.nn.Sequential(Augment(True, 2, 3), torch.nn.Dropout(0.1)), torch.float32)
    assert [name for name, _ in keyed_dropouts(module)] == ["0", "1"]
    own = module.get_submodule("0")
    assert isinstance(own, KeyedAugment)
    assert (own.flip, own.shift, own.cutout) == (True, 2, 3)
