"""Many modules of one structure as one: their tensors stacked along a leading axis ``K``, and taken out again."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vjp, vmap

from lockstep.engine.alone import one_alone, plain_gradient, seeded
from lockstep.engine.structure import is_the_libraries, structure
from lockstep.errors import TrainingError
from lockstep.network.layers.dropout import Keyed, draws, key_dropout, keyed_dropouts

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in a row of ``P`` numbers."""

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @cached_property
    def sizes(self) -> list[int]:
        return [prod(shape) for shape in self.shapes]

    @property
    def total(self) -> int:
        return sum(self.sizes)

    def views(self, flat: Tensor) -> Tensors:
        """The parameters ``[K, *shape]`` by name, as views of ``flat`` ``[K, P]`` (or without ``K``, of ``[P]``)."""
        parts = flat.split(self.sizes, dim=-1)
        named = zip(self.names, parts, self.shapes, strict=True)
        return {name: part.unflatten(-1, shape) if shape else part.squeeze(-1) for name, part, shape in named}

    def join(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The opposite of ``views`` for ``[K, *shape]`` tensors: one ``[K, P]``."""
        return torch.cat([tensors[name].reshape(len(tensors[name]), -1) for name in self.names], dim=1)


@dataclass(frozen=True, eq=False)
class Stack:
    """``K`` modules lifted: one module without storage for each mode, and what fills it, stacked.

    ``originals`` are the modules as they were made, one per member; ``taken_out`` returns a trained copy of one.
    """

    layout: Layout
    params: Tensor
    buffers: Tensors
    dropouts: tuple[str, ...]
    train_form: nn.Module
    eval_form: nn.Module
    originals: tuple[nn.Module, ...]
    mapped: bool = True

    @property
    def places(self) -> int:
        """How many random streams a step needs: one per dropout, and torch's own for a member that runs alone."""
        return len(self.dropouts) + (not self.mapped)

    def emptied(self) -> "Stack":
        """Without the members' tensors: what is left once they are trained takes each of them out."""
        buffers = {name: buffer[:0].clone() for name, buffer in self.buffers.items()}
        return replace(self, params=self.params[:0].clone(), buffers=buffers)

    def each(self, function: Callable[..., Any], in_dims: tuple[int | None, ...] | int = 0) -> Callable[..., Any]:
        """``function`` of one member as one of all, over the leading axis: by ``vmap``, or on the only member."""
        return vmap(function, in_dims=in_dims) if self.mapped else one_alone(function, in_dims)

    @cached_property
    def plain(self) -> bool:
        """Whether plain autograd sees in operations on all members what it sees in one member's.

        So it does in torch's layers and ours. What a user's own code asks of a gradient (a hook, a function with a
        ``vmap`` of its own), and which rows of an embedding are padding, torch's rules for all members do not keep;
        and for recurrence and attention of its own it has none, or slow ones.
        """
        return all(
            is_the_libraries(module)
            and not isinstance(module, nn.RNNBase | nn.MultiheadAttention)
            and getattr(module, "padding_idx", None) is None
            for module in self.originals[0].modules()
        )

    def backward(self, loss: Callable[..., tuple[Tensor, Any]], *, plain: bool = False) -> Callable[..., Any]:
        """From one member's ``(params, …) → (loss, rest)`` to all members' ``(gradients, (losses, rest))``. ``plain``
        says that there is nothing of a user's own in ``loss`` beside the network."""
        if not self.mapped:
            return self.each(plain_gradient(loss, axes=0))
        if plain and self.plain:
            return plain_gradient(self.each(loss), axes=1)
        return self.each(grad_and_value(loss, has_aux=True))

    def drawing(self, keys: Tensor | None = None) -> AbstractContextManager[None]:
        """Around anything that runs the members. One that runs alone may draw from torch's own stream, which starts
        from its key then, the last of ``keys`` ``[1, places]`` (from 0 without), and is the caller's again after."""
        if self.mapped:
            return nullcontext()
        return seeded(0 if keys is None else int(keys[0, -1]), self.params.device)

    def call(self, params: Tensors, buffers: Tensors, inputs: tuple[Tensor, ...], *, training: bool) -> Tensor:
        """One member's output; under ``vmap`` all members'. In training, ``buffers`` then holds what they became."""
        form = self.train_form if training else self.eval_form
        for module in form.modules():
            if isinstance(module, Keyed):
                module.calls = 0
        if self.mapped and not training and any(isinstance(module, nn.RNNBase) for module in form.modules()):
            output = in_small_operations(lambda p: functional_call(form, (p, buffers), inputs), params)
        else:
            output = functional_call(form, (params, buffers), inputs)
        if training:
            output, became = output
            buffers.update({name: buffer for name, buffer in became.items() if name in buffers})
        if not isinstance(output, Tensor):
            raise TrainingError(
                f"A network must return one tensor, however: {type(output).__name__}. Return the logits."
            )
        return output

    def part(self, positions: Sequence[int], *, mapped: bool) -> "Stack":
        """Some of the members as a stack of their own, whose forms remember nothing of this one's runs."""
        rows = list(positions)
        return replace(
            self,
            params=self.params[rows],
            buffers={name: buffer[rows] for name, buffer in self.buffers.items()},
            train_form=copy.deepcopy(self.train_form),
            eval_form=copy.deepcopy(self.eval_form),
            originals=tuple(self.originals[position] for position in rows),
            mapped=mapped,
        )

    def state_dict(self, position: int, params: Tensor, buffers: Tensors) -> Tensors:
        """That of ``taken_out`` with the same arguments, without making the module."""
        original = self.originals[position]
        own = dict(original.named_parameters()) | dict(original.named_buffers())
        ours = {id(own[name]): value for name, value in (self.layout.views(params) | buffers).items() if name in own}
        held = original.state_dict(keep_vars=True)
        return {name: ours.get(id(tensor), tensor).detach().cpu() for name, tensor in held.items()}

    def taken_out(self, position: int, params: Tensor, buffers: Tensors) -> nn.Module:
        """The ordinary module at ``position`` with the given parameters ``[P]`` and buffers, in eval mode, on the CPU.

        The user's own dropout is back in its place.
        """
        module = copy.deepcopy(self.originals[position])
        with torch.no_grad():
            own = dict(module.named_parameters()) | dict(module.named_buffers())
            for name, value in (self.layout.views(params) | buffers).items():
                if name in own:
                    own[name].copy_(value)
        return module.eval()


def in_small_operations(function: Callable[[Tensors], Any], params: Tensors) -> Any:
    """``function(params)`` where autograd sees it, though nothing is recorded: there torch takes its recurrent layers
    apart into operations that ``vmap`` has rules for, and under ``vmap`` alone it does not."""

    @torch.no_grad()
    def unrecorded(params: Tensors) -> Any:
        return function(params)

    return vjp(unrecorded, params)[0]


def lift_groups(
    modules: Sequence[nn.Module], device: torch.device, kinds: Sequence[object] | None = None
) -> Iterator[tuple[Stack, list[int]]]:
    """Stack what can be stacked: each stack with the positions of its members among ``modules``.

    Modules share a stack when their structure and, where given, their ``kinds`` are equal.
    """
    for positions in stackable(modules, kinds):
        yield lift([modules[position] for position in positions], device), positions


def stackable(modules: Sequence[nn.Module], kinds: Sequence[object] | None = None) -> list[list[int]]:
    """The positions of the modules that can share a stack, a list per stack."""
    groups: dict[object, list[int]] = {}
    for position, module in enumerate(modules):
        groups.setdefault((structure(module), kinds[position] if kinds else None), []).append(position)
    return list(groups.values())


def lift(modules: Sequence[nn.Module], device: torch.device, *, mapped: bool = True) -> Stack:
    """Stack modules of one structure on ``device``. Parameters that need no gradient travel with the buffers.

    What ``vmap`` refuses is one module, and not ``mapped``.
    """
    trained = {name: p for name, p in modules[0].named_parameters() if p.requires_grad}
    layout = Layout(tuple(trained), tuple(p.shape for p in trained.values()))
    dtype = next(iter(trained.values())).dtype
    keyed = [key_dropout(copy.deepcopy(module), dtype) if draws(module) else module for module in modules]
    params = torch.stack([flattened(module, layout) for module in keyed])
    fixed = [_fixed(module) for module in keyed]
    buffers = {name: torch.stack([one[name] for one in fixed]) for name in fixed[0]}
    form = on_meta(keyed[0])
    train_form = copy.deepcopy(form).train()
    train_form.register_forward_hook(with_buffers)
    return Stack(
        layout=layout,
        params=params.to(device),
        buffers={name: buffer.to(device) for name, buffer in buffers.items()},
        dropouts=tuple(name for name, _ in keyed_dropouts(form)),
        train_form=train_form,
        eval_form=form.eval(),
        originals=tuple(modules),
        mapped=mapped,
    )


def flattened(module: nn.Module, layout: Layout) -> Tensor:
    """A module's parameters as one row ``[P]``."""
    own = dict(module.named_parameters())
    return torch.cat([own[name].detach().reshape(-1) for name in layout.names])


def with_buffers(module: nn.Module, _inputs: object, output: object) -> tuple[object, Tensors]:
    """A forward hook. A module may set a buffer anew (``self.mean = …``), and functional_call puts the old one back."""
    return output, dict(module.named_buffers())


def on_meta(module: nn.Module) -> nn.Module:
    """A copy without storage. ``module.to("meta")`` would part tensors that two submodules share."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): without_storage(tensor) for tensor in tensors})


def without_storage(tensor: Tensor) -> Tensor:
    meta = tensor.detach().to("meta")
    return nn.Parameter(meta, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else meta


def _fixed(module: nn.Module) -> Tensors:
    frozen = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    return frozen | {name: buffer.detach() for name, buffer in module.named_buffers()}
