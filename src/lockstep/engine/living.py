"""How many bytes the tensors hold that a piece of work makes."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Living(TorchDispatchMode):
    """Inside, ``most`` is the largest number of bytes that new tensors held at once, ``largest`` that of one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = self.largest = 0
        self.known: set[int] = set()
        self.watched: list[Any] = []

    def operation(
        self, func: Callable[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for tensor in tree_leaves((args, kwargs)):
            self.note(tensor, new=False)
        results = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            self.note(tensor, new=True)
        return results

    def note(self, tensor: object, *, new: bool) -> None:
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:  # a sparse one has no storage of its own
            return
        if (storage := tensor.untyped_storage())._cdata in self.known:
            return
        size = storage.nbytes() if new else 0
        self.known.add(storage._cdata)
        self.now += size
        self.most, self.largest = max(self.most, self.now), max(self.largest, size)
        self.watched.append(weakref.finalize(storage, self.gone, storage._cdata, size))

    def __exit__(self, *why: Any) -> None:
        super().__exit__(*why)  # type: ignore[no-untyped-call]
        for watch in self.watched:  # nothing is left with tensors that live on
            watch.detach()

    def gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


# Of what stands in the class, torch makes something that loads torch._dynamo and sympy when it is first called: 4 s.
Living.__torch_dispatch__ = Living.operation  # type: ignore[method-assign, assignment]
