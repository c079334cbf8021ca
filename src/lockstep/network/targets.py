"""Whether targets are what a named loss takes beside a network's output, said before anything is trained."""

from torch import Tensor

from lockstep.errors import DataError


def check_targets(output: Tensor, targets: Tensor, loss: str) -> None:
    """Refuse targets ``[N, …]`` that do not fit the loss and the output ``[B, …]`` of a few rows. Raises ``DataError``.

    ``cross_entropy`` takes codes of the output's classes, ``binary_cross_entropy`` numbers from 0 to 1, and all but
    ``cross_entropy`` an output of the target's shape, a last axis of 1 aside.
    """
    if loss == "cross_entropy":
        check_classes(output, targets)
        check_codes(output.shape[1], targets)
        return
    given, wanted = list(output.shape[1:]), list(targets.shape[1:])
    if given not in (wanted, [*wanted, 1]):
        raise DataError(
            f"{loss} takes an output of the shape of y (a last axis of 1 aside), however a row of y is {wanted} and of "
            f"the network's output {given}. Give the network as many outputs as y has numbers in a row."
        )
    if loss == "binary_cross_entropy" and (targets.min() < 0 or targets.max() > 1):
        low, high = float(targets.min()), float(targets.max())
        raise DataError(
            f"binary_cross_entropy takes y of 0 and 1, however: from {low:g} to {high:g}. "
            + ("Give (y > 0).float()." if low < 0 else "For three classes or more: loss='cross_entropy'.")
        )


def check_classes(output: Tensor, targets: Tensor) -> None:
    """Whether targets ``[N, …]`` are a class code for each position of the output ``[B, C, …]``."""
    rule = "cross_entropy takes class codes, one per row, as whole numbers"
    if output.dim() < 2 or output.shape[1] == 1:
        raise DataError(
            "cross_entropy takes an output per class [B, C], however the network gives one number per row. For two "
            "classes: loss='binary_cross_entropy'; for more, let it end in as many outputs as there are classes."
        )
    wanted, given = list(output.shape[2:]), list(targets.shape[1:])
    if given == [*wanted, 1]:
        raise DataError(f"{rule}, however a row of y is {given}. Give y.squeeze(-1).")
    if given == list(output.shape[1:]):
        raise DataError(
            f"{rule}, however a row of y is {given}, a number per class. Give y.argmax(1); if they are probabilities, "
            "loss=torch.nn.functional.cross_entropy."
        )
    if given != wanted:
        raise DataError(f"{rule}, however a row of y is {given} and the network's output {list(output.shape[1:])}.")
    if targets.is_floating_point():
        whole = bool((targets == targets.round()).all())
        remedy = "Give y as whole numbers: y.long()." if whole else "For numbers that are no classes: loss='mse'."
        raise DataError(f"{rule}, however y is {str(targets.dtype).removeprefix('torch.')}. {remedy}")


def check_codes(classes: int, targets: Tensor) -> None:
    """Whether all codes count from 0 and have an output."""
    low, high = int(targets.min()), int(targets.max())
    if low >= 0 and high < classes:
        return
    if high - low < classes:
        remedy = f"Count them from 0: y {'-' if low > 0 else '+'} {abs(low)}."
    else:
        needed = f"Give the network {high - min(low, 0) + 1} outputs"
        remedy = f"{needed}, and count from 0: y + {-low}." if low < 0 else f"{needed}."
    raise DataError(
        f"Class codes count from 0 to {classes - 1:,} for a network of {classes:,} outputs, however y holds {low:,} to "
        f"{high:,}. {remedy}"
    )
