"""Preprocessing in front of the written-out layers. It has nothing to learn but the embeddings of categories."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.func import functional_call, vmap

from lockstep.engine.backprop.layer import Pass, Tensors
from lockstep.network.preprocess.table import Table


@dataclass(frozen=True)
class Embedding:
    """A table of vectors, one per code: ``h = E[code]``;  ``dE[v] = Σ δ`` over the samples whose code is ``v``.

    ``column`` is the category's among the codes ``[K, B, Dc]``, ``start`` where its vector begins in the features.
    """

    weight: str
    column: int
    start: int

    def backward(self, delta: Tensor, codes: Tensor, now: Pass) -> None:
        if self.weight in now.grads:
            grad = now.grads[self.weight]
            own = delta[..., self.start : self.start + grad.shape[-1]]
            grad.scatter_add_(1, codes[..., self.column, None].expand_as(own), own)


@dataclass(frozen=True)
class Preprocessing:
    """The module ``name``, run forward as it is for all members, and its embeddings, which are run backward."""

    name: str
    embeddings: tuple[Embedding, ...]

    def forward(self, module: nn.Module) -> Callable[[Pass, tuple[Tensor, ...]], Tensor]:
        """From a pass and the inputs ``[K, B, …]`` to features ``[K, B, D]``. ``module`` has no storage."""
        prefix = f"{self.name}."
        run = vmap(lambda own, inputs: functional_call(module, own, inputs))

        def features(now: Pass, inputs: tuple[Tensor, ...]) -> Tensor:
            own = {name.removeprefix(prefix): x for name, x in now.weights.items() if name.startswith(prefix)}
            return run(own, inputs)  # type: ignore[no-any-return]

        return features

    def backward(self, delta: Tensor, inputs: tuple[Tensor, ...], now: Pass) -> None:
        """``delta`` ``[K, B, D]`` of the features; ``inputs`` are a table's numbers and codes."""
        if self.embeddings:
            codes = seen(inputs[1], now.weights, f"{self.name}.categories")
            for embedding in self.embeddings:
                embedding.backward(delta, codes, now)


def seen(codes: Tensor, weights: Tensors, name: str) -> Tensor:
    """The codes ``[K, B, Dc]`` with those that the member's training rows do not have as the unseen one."""
    known, offsets = weights[f"{name}.known"], weights[f"{name}.offsets"]
    return codes * known.gather(1, (codes + offsets[:, None]).flatten(1)).view_as(codes)


def embeddings_of(module: Table, name: str) -> tuple[Embedding, ...]:
    """The embeddings of a table's categories: the last of its features, one category after another."""
    categories = module.categories
    if categories is None:
        return ()
    sizes = [len(p[0]) for p in categories.embeddings.parameters()]
    start = module.shape.width - sum(sizes)
    return tuple(
        Embedding(f"{name}.categories.embeddings.{i}.weight", column, start + sum(sizes[:i]))
        for i, column in enumerate(categories.embedded)
    )
