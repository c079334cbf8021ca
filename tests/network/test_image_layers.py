"""Convolution and maximum over images are torch's, alone and in a stack, whoever shares images or weights."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lockstep.network.layers.images import ImageConv, ImageMax

Rng = np.random.Generator
LAYERS = {
    "convolution": (ImageConv(2, 3, 3), nn.Conv2d(2, 3, 3, padding=1)),
    "wide, no bias": (ImageConv(2, 3, 5, bias=False), nn.Conv2d(2, 3, 5, padding=2, bias=False)),
    "of one pixel": (ImageConv(2, 4, 1), nn.Conv2d(2, 4, 1)),
    "maximum": (ImageMax(2), nn.MaxPool2d(2)),
    "maximum of 3": (ImageMax(3), nn.MaxPool2d(3)),
}


def images(rng: Rng, *shape: int) -> Tensor:
    """With ties among the pixels, as in a plain background."""
    return torch.from_numpy(rng.integers(-2, 3, (*shape, 2, 7, 8))).double()


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_alone_is_torchs_in_output_and_gradients(rng: Rng, name: str) -> None:
    ours, theirs = (layer.double() for layer in LAYERS[name])
    theirs.load_state_dict(ours.state_dict())
    x = images(rng, 5)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = ours(a), theirs(b)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(expected)
    got = torch.autograd.grad((out * weights).sum(), [a, *ours.parameters()])
    for own, other in zip(got, torch.autograd.grad((expected * weights).sum(), [b, *theirs.parameters()]), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shared", ["nothing", "images", "weights"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_in_a_stack_is_each_members_own(rng: Rng, name: str, shared: str) -> None:
    ours, theirs = (layer.double() for layer in LAYERS[name])
    K = 3
    x = images(rng, 5) if shared == "images" else images(rng, K, 5)
    shape = () if shared == "weights" else (K,)
    weights = {key: torch.from_numpy(rng.normal(size=(*shape, *p.shape))) for key, p in ours.named_parameters()}
    dims = (None if shared == "weights" else 0, None if shared == "images" else 0)
    if name.startswith("maximum") and shared == "images":
        x, dims = images(rng, K, 5), (None, 0)

    def loss(layer: nn.Module, own: dict[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(layer, own, (images,)).cos().sum()  # type: ignore[no-any-return]

    fused = vmap(lambda w, i: grad(lambda w, i: loss(ours, w, i), argnums=(0, 1))(w, i), in_dims=dims)(weights, x)
    outputs = vmap(lambda w, i: functional_call(ours, w, (i,)), in_dims=dims)(weights, x)
    for k in range(K):
        own = {key: w if dims[0] is None else w[k] for key, w in weights.items()}
        mine = x if dims[1] is None else x[k]
        torch.testing.assert_close(outputs[k], functional_call(theirs, own, (mine,)), rtol=0, atol=1e-12)
        of_weights, of_images = grad(lambda w, i: loss(theirs, w, i), argnums=(0, 1))(own, mine)
        torch.testing.assert_close(fused[1][k], of_images, rtol=0, atol=1e-10)
        for key, expected in of_weights.items():
            torch.testing.assert_close(fused[0][key][k], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_channels_lie_innermost_behind_a_layer(rng: Rng, name: str) -> None:
    out = LAYERS[name][0].double()(images(rng, 5))
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert not out.is_contiguous()
