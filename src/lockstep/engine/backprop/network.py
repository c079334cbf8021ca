"""From a network to its written-out form: a chain of layers, each taking what the one before gives, or the reason why
it is none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from lockstep.engine.alone import seeded
from lockstep.engine.backprop.embeddings import Preprocessing, embeddings_of
from lockstep.engine.backprop.layer import Layer, parameters_of
from lockstep.engine.backprop.layers import LAYERS, NotWritten, Shape, flattened, layers_of
from lockstep.engine.backprop.linear import Linear, Reshape, Scale, Shift
from lockstep.engine.stack import on_meta
from lockstep.network.build import Network
from lockstep.network.layers.dropout import DROPOUTS
from lockstep.network.preprocess.images import Pixels
from lockstep.network.preprocess.table import Table
from lockstep.network.shapes import Flat

# What a forward may call in place of a module: the module that says the same.
FUNCTIONS: dict[Any, type[nn.Module]] = {
    torch.relu: nn.ReLU, F.relu: nn.ReLU, "relu": nn.ReLU, F.leaky_relu: nn.LeakyReLU, F.elu: nn.ELU, F.selu: nn.SELU,
    F.gelu: nn.GELU, F.silu: nn.SiLU, F.mish: nn.Mish, torch.sigmoid: nn.Sigmoid, F.sigmoid: nn.Sigmoid,
    "sigmoid": nn.Sigmoid, torch.tanh: nn.Tanh, F.tanh: nn.Tanh, "tanh": nn.Tanh,
    torch.flatten: nn.Flatten, "flatten": nn.Flatten,
}  # fmt: skip


@dataclass(frozen=True)
class Written:
    """A network as layers one after another on features ``[K, B, …]``, and what makes the features of the inputs.
    ``output`` is the shape of what comes out for one sample."""

    preprocessing: Preprocessing | None
    layers: tuple[Layer, ...]
    output: Shape


def written(module: nn.Module, inputs: Sequence[Tensor]) -> Written:
    """The written-out form of ``module`` for resident ``inputs`` ``[N, …]``. Raises ``NotWritten`` with the reason."""
    plain = on_meta(module)  # a forward that sets attributes must not set them on the user's own
    check(plain)
    if isinstance(plain, Network):
        preprocessing, shape = preprocessing_of(plain.preprocess)
        body, shape = chain(plain.body, "body", shape)
        head, shape = chain(plain.head, "head", shape)
        layers, embeddings = body + head, preprocessing.embeddings
    else:
        if len(inputs) != 1:
            raise NotWritten(f"it has {len(inputs)} inputs, and a chain of layers has one")
        preprocessing, embeddings = None, ()
        layers, shape = chain(plain, "", tuple(inputs[0].shape[1:]))
    learning = [i for i, layer in enumerate(layers) if parameters_of(layer)]
    if not learning:
        raise NotWritten("none of its layers has anything to learn")
    if not embeddings and isinstance(first := layers[learning[0]], Linear):
        layers[learning[0]] = replace(first, lowest=True)
    return Written(preprocessing, tuple(layers), shape)


def check(module: nn.Module) -> None:
    """What no look at the forward would show."""
    if any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules()):
        raise NotWritten("a hook may change what its layers do")
    if len(list(module.named_parameters(remove_duplicate=False))) > len(list(module.parameters())):
        raise NotWritten("two layers share a parameter")
    places = [name for name, m in module.named_modules(remove_duplicate=False) if isinstance(m, DROPOUTS)]
    if len(places) > sum(isinstance(m, DROPOUTS) for m in module.modules()):
        raise NotWritten(f"one dropout stands in several places ({', '.join(places)})")


def preprocessing_of(module: nn.Module) -> tuple[Preprocessing, Shape]:
    """Run forward as it is; backward it knows the embeddings of a table."""
    what = type(module).__name__
    if type(module) not in (Table, Pixels) or not isinstance(module.shape, Flat):
        raise NotWritten(f"its preprocessing ({what}) gives no flat features")
    if any(isinstance(m, DROPOUTS) for m in module.modules()):
        raise NotWritten(f"its preprocessing ({what}) has dropout")
    embeddings = embeddings_of(module, "preprocess") if isinstance(module, Table) else ()
    trained = {f"preprocess.{name}" for name, p in module.named_parameters() if p.requires_grad}
    if others := trained - {embedding.weight for embedding in embeddings}:
        raise NotWritten(f"its preprocessing learns more than embeddings ({', '.join(sorted(others))})")
    return Preprocessing("preprocess", embeddings), (module.shape.width,)


class Tracer(fx.Tracer):
    """Looks into every module but those that have a written-out form."""

    proxy_buffer_attributes = True  # else a change of a buffer would not be seen

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in LAYERS or super().is_leaf_module(m, module_qualified_name)


def chain(module: nn.Module, name: str, shape: Shape) -> tuple[list[Layer], Shape]:
    """The layers of a module whose forward is one operation after another, by following what it does to its input."""
    if type(module) in LAYERS:
        return layers_of(module, name, shape)
    try:
        with seeded(0, torch.device("cpu")):  # a forward that draws must leave the caller's random state alone
            graph = Tracer().trace(module)
    except Exception as error:
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise NotWritten(f"its forward cannot be followed ({reason})") from error
    layers: list[Layer] = []
    called: set[str] = set()
    value, *nodes = [node for node in graph.nodes if node.op != "get_attr" and not is_size(node)]
    if value.op != "placeholder":
        raise NotWritten("its forward has no input")
    for node in nodes:
        if node.op == "output":
            if node.args != (value,):
                raise NotWritten("its forward returns more than what its last layer gives")
            return layers, shape
        if node.target in called and node.op == "call_module":
            raise NotWritten(f"{node.target} is called twice")
        called.add(str(node.target))
        more, shape = operation(module, name, node, value, shape)
        layers += more
        value = node
    raise NotWritten("its forward returns nothing")


def operation(module: nn.Module, name: str, node: fx.Node, value: fx.Node, shape: Shape) -> tuple[list[Layer], Shape]:
    """One operation of a chain, which must take what the one before gave, ``value``."""
    own = f"{name}." if name else ""
    what = getattr(node.target, "__name__", str(node.target))
    others = [arg for arg in node.all_input_nodes if arg is not value]
    if value not in node.all_input_nodes or any(arg.op != "get_attr" and not is_size(arg) for arg in others):
        raise NotWritten(f"its forward is no chain: {what} takes more than what the layer before gives")
    if node.op == "call_module":
        return layers_of(module.get_submodule(str(node.target)), own + str(node.target), shape)
    if what in ("mul", "add") and len(node.args) == 2 and not node.kwargs:
        return fixed(module, own, what, node, value), shape
    if what in ("view", "reshape") and len(node.args) == 3 and is_size(node.args[1]) and node.args[2] == -1:
        return flattened(shape)
    if what == "squeeze" and node.args[1:] in ((-1,), (len(shape),)) and shape[-1:] == (1,):
        return [Reshape(shape[:-1])], shape[:-1]
    if node.target in FUNCTIONS and node.args[0] is value:
        try:
            same = FUNCTIONS[node.target](*node.args[1:], **node.kwargs)
        except TypeError:
            raise NotWritten(f"{what} with these arguments has no written-out form") from None
        return layers_of(same, what, shape)
    raise NotWritten(f"{what} has no written-out form")


def fixed(module: nn.Module, own: str, what: str, node: fx.Node, value: fx.Node) -> list[Layer]:
    """Times or plus a number or a row that is not trained."""
    first, second = node.args
    other = second if first is value else first
    if not isinstance(other, fx.Node) or other is value or other.op != "get_attr":
        raise NotWritten(f"its forward is no chain: {what} of {first} and {second}")
    if str(other.target) not in dict(module.named_buffers()):
        raise NotWritten(f"{own}{other.target} is no parameter of a layer")
    by = own + str(other.target)
    return [Scale(by) if what == "mul" else Shift(by)]


def is_size(node: Any) -> bool:
    """Whether a node is the number of samples, ``x.size(0)`` or ``x.shape[0]``, or on the way to it."""
    if not isinstance(node, fx.Node):
        return False
    match node.op, getattr(node.target, "__name__", node.target):
        case "call_method", "size":
            return node.args[1:] in ((0,), ())
        case "call_function", "getattr":
            return bool(node.args[1] == "shape")
        case "call_function", "getitem":
            return is_size(node.args[0]) and bool(node.args[1] == 0)
    return False
