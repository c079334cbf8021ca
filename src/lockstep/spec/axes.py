"""What ``--vary`` says: which settings are axes of candidates, by short names and with sweeps, and which values."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lockstep.errors import SpecError
from lockstep.spec.base import Frozen, Vary
from lockstep.spec.choices import chosen
from lockstep.spec.fit import TAGS, FitSpec, parse_value

Axes = dict[str, list[Any]]
EXAMPLE = "For example: activation=relu,gelu or optimizer.lr=log:1e-4:1e-1:7"


def parse_axes(vary: Mapping[str, Any] | Sequence[str]) -> Axes:
    """The values to try for each setting, from ``["activation=relu,gelu"]`` or ``{"activation": ["relu", "gelu"]}``.

    A text is values with commas between (``256x256`` is a list of widths), or a sweep: ``log:1e-4:1e-1:7`` is seven
    values at equal ratios, ``lin:0:0.5:6`` six at equal distances, both ends among them.
    """
    if isinstance(vary, str):
        vary = [vary]
    if not isinstance(vary, Mapping):
        pairs = [assignment.partition("=") for assignment in vary]
        if wrong := [said for said, (key, *_, text) in zip(vary, pairs, strict=True) if not (key and _no_gap(text))]:
            raise SpecError(f"An axis is key=value,value, however: {wrong[0]!r}. {EXAMPLE}.")
        keys = [key.strip() for key, *_ in pairs]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise SpecError(f"A setting must be varied once, however: {twice[0]} twice. Give all its values together.")
        vary = dict(zip(keys, (text for *_, text in pairs), strict=True))
    return {key: _distinct(key, _values(key, said)) for key, said in vary.items()}


def _no_gap(text: str) -> bool:
    return all(part.strip() for part in text.split(","))


def _values(key: str, said: Any) -> list[Any]:
    match said:
        case str() if said.startswith(("log:", "lin:")):
            return sweep(key, said)
        case str():
            return [_value(part) for part in said.split(",")]
        case Vary(values=values):
            return list(values)
        case Mapping() | bool() | int() | float() | None:
            return [said]
        case Iterable():
            plain = [value.item() if hasattr(value, "item") else value for value in said]
            return [_value(value) if isinstance(value, str) else value for value in plain]
    return [said]


def _value(text: str) -> Any:
    text = text.strip()
    return [int(width) for width in text.split("x")] if re.fullmatch(r"\d+(x\d+)+", text) else parse_value(text)


def _distinct(key: str, values: list[Any]) -> list[Any]:
    if not values:
        raise SpecError(f"An axis must hold values, however: {key} has none. {EXAMPLE}.")
    seen: list[Any] = []  # a value may be a list, which no set takes
    for value in values:
        if value in seen:
            raise SpecError(f"An axis must hold each value once, however: {key} has {value!r} twice. {EXAMPLE}.")
        seen.append(value)
    return values


def sweep(key: str, text: str) -> list[float]:
    """``log:a:b:n`` and ``lin:a:b:n`` as ``n`` numbers from ``a`` to ``b``, to four digits."""
    scale, *parts = text.split(":")
    try:
        low, high, count = float(parts[0]), float(parts[1]), int(parts[2])
        assert len(parts) == 3
        assert count >= 2
        assert math.isfinite(low)
        assert math.isfinite(high)
        assert scale == "lin" or (low > 0 and high > 0)
    except (ValueError, IndexError, AssertionError):
        raise SpecError(
            "A sweep is log:from:to:count (both ends above 0) or lin:from:to:count, with a count of 2 or more, "
            f"however: {key}={text}. {EXAMPLE}."
        ) from None
    shares = [i / (count - 1) for i in range(count)]
    inner = [low * (high / low) ** t if scale == "log" else low + (high - low) * t for t in shares]
    return [low, *(float(f"{value:.4g}") for value in inner[1:-1]), high]


def with_axes(spec: FitSpec, axes: Axes, given: Mapping[str, Any]) -> FitSpec:
    """``spec`` with the axes in their places. ``given`` are the settings that the user gave beside them.

    Optimisers, schedules and models are named; an optimiser then has a rate of its own, unless one was given.
    """
    varied: list[str] = []
    for key in sorted(axes, key=lambda key: piece_named(key) is None):  # pieces first: other settings may be theirs
        path = resolve(key, spec)
        if path in varied:
            raise SpecError(f"A setting must be varied once, however: {path} twice. Give all its values together.")
        varied.append(path)
        values = [chosen(path, value, spec, given) if path in TAGS else value for value in axes[key]]
        spec = spec.override({path: {"vary": values}}) if path in TAGS else spec.replace(path, Vary(*values))
    return spec


def piece_named(key: str) -> str | None:
    """The piece that is chosen whole by a setting: ``model`` by ``family``, ``model.family`` and ``model``."""
    piece, _, last = key.rpartition(".")
    if key == "family":
        return "model"
    return (piece or key) if key in TAGS or TAGS.get(piece) == last else None


def resolve(key: str, spec: FitSpec) -> str:
    """The whole path of a setting by its path or its last part: ``lr`` is ``optimizer.lr``. Raises ``SpecError``."""
    known = list(dict.fromkeys(_paths(spec)))
    piece = key.rpartition(".")[0]
    if key == "loss":
        return "loss.name"
    if whole := piece_named(key):
        return whole
    if key in known:
        return key
    meant = [path for path in known if path.endswith(f".{key}")]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise SpecError(f"{key} must name one setting, however: {' and '.join(meant)}. Give the whole path.")
    if piece:  # the reader of whole paths says best what is wrong with one
        spec.override({piece.split(".")[0]: _nested(key.split(".")[1:])})
    free = [path for path in known if path.partition(".")[0] not in spec.fixed and path.rpartition(".")[2] not in TAGS]
    ends = {path.rpartition(".")[2]: path for path in free}
    close = difflib.get_close_matches(key, [*ends, *free], n=1, cutoff=0.6)
    hint = f"Did you mean {close[0]}?" if close else f"Known in this model: {', '.join(sorted(ends))}."
    raise SpecError(f"There is no setting {key} to vary. {hint}")


def _nested(path: list[str]) -> dict[str, Any]:
    head, *rest = path
    return {head: _nested(rest) if rest else None}


def _paths(piece: Frozen, prefix: str = "") -> Iterator[str]:
    for name in type(piece).model_fields:
        value = getattr(piece, name)
        yield f"{prefix}{name}"
        for one in value.values if isinstance(value, Vary) else (value,):
            if isinstance(one, Frozen):
                yield from _paths(one, f"{prefix}{name}.")
