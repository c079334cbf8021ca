"""From a written-out chain of layers to what the kernels run: layers, parameters and numbers as data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from lockstep.engine.backprop import NotWritten, written
from lockstep.engine.backprop.activations import Activation
from lockstep.engine.backprop.dropout import Dropout
from lockstep.engine.backprop.layer import Layer, parameters_of
from lockstep.engine.backprop.linear import Linear, Reshape, Scale, Shift
from lockstep.engine.backprop.network import Written
from lockstep.engine.backprop.norms import Affine, BatchNorm, FeatureNorm, RootMeanSquare
from lockstep.engine.native import structures
from lockstep.engine.native.inputs import Formula, formulas_of, kept
from lockstep.engine.native.structures import FormulaKind, Function, Kind, Loss, PieceKind, array
from lockstep.engine.native.structures import Rule as RuleKind
from lockstep.engine.native.toolchain import NoLibrary, library
from lockstep.engine.stack import Layout, Tensors
from lockstep.engine.structure import dtype_of
from lockstep.optim import Rule

KEPT_BYTES = 1e9  # what is kept of all rows beside the rows themselves, maybe for every fold


@dataclass(frozen=True)
class Chain:
    """A written-out network as the kernels take it: the formulas of its features, its layers with the width that each
    is given, the width of its features, and of its outputs."""

    network: Written
    formulas: tuple[Formula, ...]
    layers: tuple[tuple[Layer, int], ...]
    features: int
    outputs: int


def refusal(
    module: nn.Module, inputs: Sequence[Tensor], have: Callable[[torch.dtype, str], Any] = library
) -> str | None:
    """Why the kernels cannot train such networks on these inputs; None where they can, once they are made. ``have``
    makes them, or raises ``NoLibrary``."""
    try:
        chain = chain_of(module, inputs)
        dtype = dtype_of(module)
        have(dtype, "train")
    except (NotWritten, NoLibrary) as reason:
        return str(reason)
    if chain.network.preprocessing is None and inputs[0].dtype != dtype:
        return f"its inputs are {str(inputs[0].dtype)[6:]}, and its weights {str(dtype)[6:]}"
    if kept(chain.formulas, inputs) * dtype.itemsize > KEPT_BYTES:
        return f"a copy of all {len(inputs[0]):,} rows would take more than {KEPT_BYTES / 1e9:.0f} GB"
    return None


ELEMENTWISE = (Activation, Scale, Shift, Dropout, BatchNorm, FeatureNorm, RootMeanSquare, Affine)


def chain_of(module: nn.Module, inputs: Sequence[Tensor]) -> Chain:
    """Raises ``NotWritten``."""
    network = written(module, inputs)
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    if still := [name for name, p in module.named_parameters() if not p.requires_grad]:
        raise NotWritten(f"{still[0]} is not trained, and the kernels train all parameters")
    dtype = next(module.parameters()).dtype
    width = features = features_of(module, network, inputs)
    layers: list[tuple[Layer, int]] = []
    for layer in network.layers:
        if isinstance(layer, BatchNorm) and not layer.tracked:
            raise NotWritten("batch norm without running statistics has no kernel")
        for name in rows_of(layer):
            if tensors[name].numel() != width and not (isinstance(layer, Scale | Shift) and tensors[name].numel() == 1):
                raise NotWritten(f"{name} has {tensors[name].numel()} numbers, and {width} columns come to it")
            if tensors[name].dtype != dtype:
                raise NotWritten(f"{name} is {str(tensors[name].dtype)[6:]}, and its weights {str(dtype)[6:]}")
        if not isinstance(layer, (Linear, Reshape, *ELEMENTWISE)):
            raise NotWritten(f"{type(layer).__name__.lower()} within a network has no kernel")
        if not isinstance(layer, Reshape):  # a row is a row
            layers.append((layer, width))
        if isinstance(layer, Linear):
            width = len(tensors[layer.weight])
    return Chain(network, tuple(formulas_of(module, network, inputs)), tuple(layers), features, width)


def rows_of(layer: Layer) -> list[str]:
    """The names of what the kernels read as a number for each column, of the weights' type."""
    match layer:
        case Affine():
            return parameters_of(layer)
        case Scale() | Shift():
            return [layer.by]
        case BatchNorm():
            return [f"{layer.name}.running_mean", f"{layer.name}.running_var"]
    return []


def features_of(module: nn.Module, network: Written, inputs: Sequence[Tensor]) -> int:
    if network.preprocessing is None:
        return prod(inputs[0].shape[1:])
    preprocess = module.get_submodule(network.preprocessing.name)
    return preprocess.shape.width  # type: ignore[union-attr, return-value]


@dataclass(frozen=True)
class Places:
    """Where each parameter lies among a member's padded numbers, and how many those are."""

    pieces: tuple[structures.Piece, ...]
    by_name: dict[str, structures.Piece]
    size: int


def places_of(layout: Layout, chain: Chain, decayed: Tensor | None, vector: int) -> Places:
    """``decayed`` ``[P]`` says what has weight decay (None: all has); ``vector`` is how many numbers a vector has."""
    matrices = {layer.weight for layer, _ in chain.layers if isinstance(layer, Linear)}
    front = chain.network.preprocessing
    tables = {embedding.weight for embedding in front.embeddings} if front else set()
    pieces, place, flat = [], 0, 0
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        kind = PieceKind.MATRIX if name in matrices else PieceKind.TABLE if name in tables else PieceKind.VECTOR
        rows, cols = shape if kind == PieceKind.MATRIX else (prod(shape), 1)
        size = cols * padded(rows, vector)
        pieces.append(
            structures.Piece(kind, rows, cols, flat, place, size, 1 if decayed is None else int(decayed[flat]))
        )
        place, flat = place + size, flat + rows * cols
    return Places(tuple(pieces), dict(zip(layout.names, pieces, strict=True)), place)


def padded(count: int, vector: int) -> int:
    return -(-count // vector) * vector


def layers_in_c(chain: Chain, places: Places, buffers: Tensors, dropouts: Sequence[str]) -> Any:
    """The layers with the buffers of all members as they lie now."""
    made = array(structures.Layer, [layer_in_c(*one, places, buffers, dropouts) for one in chain.layers])
    made[0].by_places, made[0].asked = one_hots(chain).count > 0, sum(formula.width for formula in chain.formulas)
    return made


@dataclass(frozen=True)
class OneHots:
    """Which of the features are one-hots, ``begin`` … ``end``, ``count`` of them to a row."""

    begin: int
    end: int
    count: int


def one_hots(chain: Chain) -> OneHots:
    """Those that the first layer, a product, had better add its rows for than multiply by: of columns that have
    several values each (a row that is added costs about as much as three that are multiplied by)."""
    ends = accumulate(formula.width for formula in chain.formulas)
    found = [(end - f.width, end) for f, end in zip(chain.formulas, ends, strict=True) if f.kind == FormulaKind.ONE_HOT]
    if not found or not isinstance(chain.layers[0][0], Linear):
        return OneHots(0, 0, 0)
    hots = OneHots(found[0][0], found[-1][1], len(found))
    return hots if hots.end - hots.begin > 3 * hots.count else OneHots(0, 0, 0)


def layer_in_c(layer: Layer, width: int, places: Places, buffers: Tensors, dropouts: Sequence[str]) -> structures.Layer:
    def at(name: str | None) -> int:
        return -1 if name is None else places.by_name[name].place

    made = structures.Layer(inputs=width, outputs=width, weight=-1, bias=-1, groups=1)
    match layer:
        case Linear():
            made.kind, made.outputs, made.lowest = Kind.LINEAR, places.by_name[layer.weight].rows, layer.lowest
        case Activation():
            made.kind, made.function = Kind.ACTIVATION, Function[layer.name.upper()]
            made.a, made.s = layer.a, layer.s
        case BatchNorm():
            made.kind, made.eps, made.momentum = Kind.BATCH_NORM, layer.eps, layer.momentum
            mean = buffers[f"{layer.name}.running_mean"]
            made.first, made.stride = mean.data_ptr(), mean[0].numel()
            made.second = buffers[f"{layer.name}.running_var"].data_ptr()
            made.count = buffers[f"{layer.name}.num_batches_tracked"].data_ptr()
        case FeatureNorm():
            made.kind, made.eps, made.groups = Kind.FEATURE_NORM, layer.eps, layer.groups
        case RootMeanSquare():
            made.kind, made.eps = Kind.ROOT_MEAN_SQUARE, layer.eps
        case Affine():
            made.kind = Kind.AFFINE
        case Dropout():
            made.kind, made.place = Kind.DROPOUT, list(dropouts).index(layer.name)
            made.first = buffers[f"{layer.name}.threshold"].data_ptr()
            made.second = buffers[f"{layer.name}.scale"].data_ptr()
        case Scale() | Shift():
            row = buffers[layer.by]
            made.kind = Kind.SCALE if isinstance(layer, Scale) else Kind.SHIFT
            made.first, made.stride, made.wide = row.data_ptr(), row[0].numel(), row[0].numel() > 1
    if parameters_of(layer):
        made.weight, made.bias = at(layer.weight), at(layer.bias)  # type: ignore[attr-defined]
    return made


def embeddings_in_c(chain: Chain, places: Places, layout: Layout) -> Any:
    front = chain.network.preprocessing
    widths = dict(zip(layout.names, (shape[-1] if shape else 1 for shape in layout.shapes), strict=True))
    found = [(places.by_name[e.weight], widths[e.weight], e) for e in (front.embeddings if front else ())]
    return array(structures.Embedding, [
        structures.Embedding(piece.place, piece.size, width, e.column, e.start) for piece, width, e in found
    ])  # fmt: skip


def program_in_c(chain: Chain, places: Places, layout: Layout, loss: str, rule: Rule) -> structures.Program:
    """All that stays the same while a stack trains; members, batch and pointers come with each call."""
    front = chain.network.preprocessing
    embeddings = len(front.embeddings) if front else 0
    hots = one_hots(chain)
    learning = [depth for depth, (layer, _) in enumerate(chain.layers) if parameters_of(layer)]
    return structures.Program(
        features=chain.features, outputs=chain.outputs, flat=layout.total, size=places.size, layers=len(chain.layers),
        hot_begin=hots.begin, hot_end=hots.end, hots=hots.count,
        pieces=len(places.pieces), embeddings=embeddings, lowest=0 if embeddings else learning[0],
        loss=Loss[loss.upper()], rule=RuleKind[rule.kind.upper()], moments=len(rule.moments),
        averaged="average" in rule.moments,
    )  # fmt: skip
