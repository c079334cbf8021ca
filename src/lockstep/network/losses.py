"""Losses on logits, for one member: (output, target, numbers) → a number. ``numbers`` are the member's own scalars.

Each is its ``torch.nn.functional`` namesake with mean reduction, with two differences: what torch takes as a Python
number (label smoothing, Huber's delta) may be a tensor here, so that it can differ from member to member in a stack;
and the regression losses divide the error by ``scale``, the spread of the target on the member's training rows.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from lockstep.errors import TrainingError

Numbers = Mapping[str, Tensor]
LossFunction = Callable[[Tensor, Tensor, Numbers], Tensor]


def cross_entropy(output: Tensor, target: Tensor, numbers: Numbers) -> Tensor:
    """Softmax cross-entropy. ``output`` ``[B, C]`` logits (or ``[B, C, …]``), ``target`` ``[B]`` int64.

    ``label_smoothing`` ε and ``class_weights`` ``[C]`` as in ``torch.nn.functional.cross_entropy``:
    ``(1 − ε) Σ w_y·nll / Σ w_y + (ε/C) Σᵢ Σ_c w_c·nll_ic / Σ w_y``.
    """
    if output.dim() < 2 or output.shape[:1] + output.shape[2:] != target.shape or target.is_floating_point():
        raise TrainingError(
            "cross_entropy needs logits [B, C] and class codes [B] (int64), however: "
            f"output {list(output.shape)}, target {list(target.shape)} {str(target.dtype).removeprefix('torch.')}."
        )
    nll = -F.log_softmax(output, dim=1)
    nll_true = nll.gather(1, target.unsqueeze(1)).squeeze(1)
    weights = numbers.get("class_weights")
    if weights is None:
        loss, spread = nll_true.mean(), nll.mean()
    else:
        if len(weights) != nll.shape[1]:
            raise TrainingError(
                "class_weights must hold one weight per class, however: "
                f"{len(weights)} weights for {nll.shape[1]} classes."
            )
        shaped = weights.view(-1, *(1,) * (nll.dim() - 2))
        w_true = weights[target]
        loss = (w_true * nll_true).sum() / w_true.sum()
        spread = (shaped * nll).sum() / w_true.sum() / nll.shape[1]
    smoothing = numbers.get("label_smoothing")
    return loss if smoothing is None else (1 - smoothing) * loss + smoothing * spread


def binary_cross_entropy(output: Tensor, target: Tensor, numbers: Numbers) -> Tensor:
    """Sigmoid cross-entropy. ``output`` ``[B]`` or ``[B, 1]`` logits, ``target`` of the same length, 0 or 1.

    ``label_smoothing`` and ``class_weights`` ``[2]`` are those of ``cross_entropy`` with two classes: weights divide by
    their sum over the batch, and not by its length as in torch's own binary form.
    """
    output, target = _align(output, target)
    nll0, nll1 = F.softplus(output), F.softplus(-output)
    w0, w1 = numbers["class_weights"].unbind() if "class_weights" in numbers else (1.0, 1.0)
    total = (w0 * (1 - target) + w1 * target).sum()
    loss = (w0 * (1 - target) * nll0 + w1 * target * nll1).sum() / total
    smoothing = numbers.get("label_smoothing")
    if smoothing is None:
        return loss
    return (1 - smoothing) * loss + smoothing / 2 * (w0 * nll0 + w1 * nll1).sum() / total


def mse(output: Tensor, target: Tensor, numbers: Numbers) -> Tensor:
    """Mean squared error, in units of the squared ``scale``."""
    return _error(output, target, numbers).square().mean()


def mae(output: Tensor, target: Tensor, numbers: Numbers) -> Tensor:
    """Mean absolute error, in units of ``scale``."""
    return _error(output, target, numbers).abs().mean()


def huber(output: Tensor, target: Tensor, numbers: Numbers) -> Tensor:
    """``e²/2`` up to ``|e| = δ``, ``δ(|e| − δ/2)`` beyond (Huber 1964); ``e`` and ``delta`` in units of ``scale``."""
    size, delta = _error(output, target, numbers).abs(), numbers.get("delta", 1.0)
    return torch.where(size <= delta, size.square() / 2, delta * (size - delta / 2)).mean()


def quantile(output: Tensor, target: Tensor, numbers: Numbers) -> Tensor:
    """Pinball loss: ``q·e`` where the target lies ``e`` above the output, ``(1 − q)·|e|`` where it lies below, in units
    of ``scale``. Its minimum is the ``quantile`` q of the target (Koenker and Bassett 1978)."""
    below, q = -_error(output, target, numbers), numbers.get("quantile", 0.5)
    return torch.maximum(q * below, (q - 1) * below).mean()


def _error(output: Tensor, target: Tensor, numbers: Numbers) -> Tensor:
    """Output less target, in units of ``scale``."""
    output, target = _align(output, target)
    error = output - target
    return error / numbers["scale"] if "scale" in numbers else error


def _align(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """A last axis of length 1 on one side only is no axis: ``[B, 1]`` against ``[B]`` would broadcast to ``[B, B]``."""
    if output.dim() == target.dim() + 1 and output.shape[-1] == 1:
        output = output.squeeze(-1)
    if output.shape != target.shape:
        raise TrainingError(
            "output and target must have one shape (a last axis of 1 aside), however: "
            f"output {list(output.shape)}, target {list(target.shape)}."
        )
    return output, target.to(output.dtype)


LOSSES: dict[str, LossFunction] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "quantile": quantile,
}
METRICS = {
    "cross_entropy": "accuracy", "binary_cross_entropy": "accuracy", "mse": "rmse", "mae": "mae", "huber": "mae",
    "quantile": "pinball",
}  # fmt: skip


def metric_name(loss: str) -> str:
    """The metric that is reported beside a loss while training; empty for a user's own loss."""
    return METRICS.get(loss, "")


def metric(loss: str, output: Tensor, target: Tensor, numbers: Numbers, real: torch.dtype) -> Tensor:
    """That metric for one member, as ``real``: ``output`` ``[N, …]``, ``target`` ``[N]``; NaN where there is none.

    Regression metrics are in the target's own units.
    """
    match loss:
        case "cross_entropy":
            return (output.argmax(1) == target).to(real).mean()
        case "binary_cross_entropy":
            output, target = _align(output, target)
            return ((output > 0) == (target > 0.5)).to(real).mean()
        case "mse":
            return mse(output.to(real), target.to(real), {}).sqrt()
        case "mae" | "huber":
            return mae(output.to(real), target.to(real), {})
        case "quantile":
            return quantile(output.to(real), target.to(real), {"quantile": numbers["quantile"]})
    return torch.tensor(float("nan"))
