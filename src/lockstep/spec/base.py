"""The ground of every spec: frozen, typed, hashable, comparable, storable, and refusing with one clear sentence."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import get_annotations
from itertools import product
from types import NoneType
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_validator,
)

from lockstep.errors import SpecError


@dataclass(frozen=True, init=False, repr=False)
class Vary:
    """An axis of candidates: ``Vary(1e-3, 3e-3)`` stands where one value belongs and means each of them in turn.

    It may stand for any field of a spec, whole pieces among them: ``optimizer=Vary(SGD(lr=0.1), AdamW())``.
    """

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        if not values:
            raise SpecError("Vary needs at least one value, however: Vary(). Give the values to try: Vary(1e-3, 3e-3).")
        object.__setattr__(self, "values", tuple(tuple(v) if isinstance(v, list) else v for v in values))

    def __repr__(self) -> str:
        return f"Vary({', '.join(map(repr, self.values))})"


def in_range(
    *, above: float | None = None, least: float | None = None, below: float | None = None, most: float | None = None
) -> PlainValidator:
    """What makes a field of type ``Number`` a float in the given range, or an axis of such floats.

    A list is an axis (``lr=[1e-3, 3e-3]``). ``above`` and ``below`` are excluded, ``least`` and ``most`` included.
    """
    rules: list[tuple[str, Callable[[float], bool]]] = []
    if above is not None:
        rules.append((f"> {above:g}", lambda v: v > above))
    if least is not None:
        rules.append((f">= {least:g}", lambda v: v >= least))
    if below is not None:
        rules.append((f"< {below:g}", lambda v: v < below))
    if most is not None:
        rules.append((f"<= {most:g}", lambda v: v <= most))
    rule = " and ".join(text for text, _ in rules)

    def check(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return Vary(*map(check, value))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"must be a number, however: {value!r}")
        if value != value or value in (float("inf"), float("-inf")) or not all(holds(value) for _, holds in rules):
            raise ValueError(f"must be {rule or 'finite'}, however: {value!r}")
        return float(value)

    return PlainValidator(check)


Number = float  # with in_range: a float, or an axis of floats


def rule(check: Callable[[Any], None]) -> Any:
    """A rule over several fields of a piece: ``check`` raises ``ValueError`` where it is broken.

    It is asked for every combination of the piece's own axes, so it sees plain values only.
    """

    def every(self: "Frozen") -> "Frozen":
        for one in self.combinations():
            check(one)
        return self

    return model_validator(mode="after")(every)


class Frozen(BaseModel):
    """A piece of a spec. Two with equal fields are equal and hash alike; a wrong field is a ``SpecError``.

    Any field may be an axis: ``Vary``, or ``{"vary": […]}`` in a file, each value checked by the field's own rule.
    ``fixed`` says of fields that may not (``"*"``: of all), why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    fixed: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise SpecError(explain(error, type(self))) from None

    # Nested pieces are then validated by pydantic itself, and an error carries its whole path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def __init_subclass__(cls, **settings: Any) -> None:
        """Every field may be an axis but the tag that tells pieces of a union apart, which pydantic itself reads."""
        super().__init_subclass__(**settings)
        fields = [name for base in cls.__mro__ for name, kind in get_annotations(base).items() if not _is_tag(kind)]
        wrap = field_validator(*fields, mode="wrap", check_fields=False)(_one_value_or_an_axis)
        cls._one_value_or_an_axis = wrap  # type: ignore[attr-defined]

    @field_serializer("*", mode="wrap")
    def _plain_or_an_axis(self, value: Any, write: SerializerFunctionWrapHandler) -> Any:
        return {"vary": [write(one) for one in value.values]} if isinstance(value, Vary) else write(value)

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Self:
        """The spec that a plain dictionary (of a file, of flags) says."""
        return cls(**fields)

    def axes(self) -> Iterator[tuple[str, Vary]]:
        """Every axis of candidates in the spec, as (dotted path, axis), in the order of the fields.

        Axes inside one value of another axis are found once that value has been put in its place.
        """
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Vary):
                yield name, value
            elif isinstance(value, Frozen):
                yield from ((f"{name}.{path}", axis) for path, axis in value.axes())

    def combinations(self) -> Iterator[Self]:
        """This piece with each combination of the axes among its own fields; itself where it has none."""
        own = {name: value.values for name, value in self._fields().items() if isinstance(value, Vary)}
        for chosen in product(*own.values()):
            yield self.model_copy(update=dict(zip(own, chosen, strict=True))) if own else self

    def replace(self, path: str, value: Any) -> Self:
        """A copy with the field at the dotted ``path`` set to ``value`` and checked again.

        Below an axis of pieces it is set in each of them.
        """
        head, _, rest = path.partition(".")
        if head not in type(self).model_fields:
            raise SpecError(unknown_key(head, type(self)))
        if rest:
            piece = getattr(self, head)
            pieces = piece.values if isinstance(piece, Vary) else (piece,)
            if not all(isinstance(one, Frozen) for one in pieces):
                raise SpecError(f"There is no setting {path}: {head} is a single value, however: {rest!r} in it.")
            _check_shared(head, rest, pieces)
            changed = [one.replace(rest, value) for one in pieces]
            value = Vary(*changed) if isinstance(piece, Vary) else changed[0]
        return type(self)(**{**self._fields(), head: value})

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).model_fields}


def _check_shared(head: str, path: str, pieces: tuple[Any, ...]) -> None:
    """Raise ``SpecError`` where only some ``pieces`` of an axis have the setting that is to be laid over each."""
    key = path.partition(".")[0]
    without = list(dict.fromkeys(_tag(type(one)) for one in pieces if key not in type(one).model_fields))
    if without and any(key in type(one).model_fields for one in pieces):
        raise SpecError(
            f"{head}.{key} must be a setting of every {head} that is compared, however: {' and '.join(without)} "
            f"{'has' if len(without) == 1 else 'have'} no {key}. Compare {' and '.join(without)} by "
            f"{'itself' if len(without) == 1 else 'themselves'}, or leave {key} out."
        )


def _one_value_or_an_axis(
    cls: type[Frozen], value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo
) -> Any:
    name = info.field_name or ""
    match value:
        case Vary(values=values) | {"vary": [*values]}:
            if why := cls.fixed.get(name) or cls.fixed.get("*"):
                raise ValueError(f"must be one for all candidates ({why}), however: {as_vary(value)!r}")
            checked = [check(_none_in_words(cls, name, one)) for one in values]
            if any(isinstance(one, Vary) for one in checked):
                raise ValueError(f"must be one value at each place of an axis, however: {as_vary(value)!r}")
            return Vary(*checked)
    return check(_none_in_words(cls, name, value))


def _is_tag(annotation: Any) -> bool:
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


def as_vary(value: Vary | dict[str, Any]) -> Vary:
    """An axis as it was said in Python, or by a file."""
    return value if isinstance(value, Vary) else Vary(*value["vary"])


def _none_in_words(model: type[BaseModel], name: str, value: Any) -> Any:
    """Files and flags have no null, so ``none`` says it where the field allows it."""
    if not isinstance(value, str) or value != "none":
        return value
    return None if NoneType in get_args(model.model_fields[name].annotation) else value


def unknown_key(key: str, model: type[BaseModel], prefix: str = "") -> str:
    """The sentence for a setting that does not exist, with the nearest that does."""
    known = list(model.model_fields)
    inside = [f"{name}.{key}" for name in known if any(key in one.model_fields for one in _field_models(model, name))]
    close = inside if len(inside) == 1 else difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    where = f"in {tag}" if (tag := _tag(model)) else "here"
    hint = f"Did you mean {prefix}{close[0]}?" if close else f"Known {where}: {', '.join(known)}."
    return f"There is no setting {prefix}{key}. {hint}"


RULES = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "missing": "must be given",
    "model_type": "must hold settings by name",
    "model_attributes_type": "must hold settings by name",
}


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """What pydantic found wrong, as our sentence: the setting, the rule, the value seen."""
    first = error.errors(include_url=False)[0]
    path, owner = _walk(first["loc"], model)
    if first["type"] == "extra_forbidden":
        *parents, key = path
        return unknown_key(key, owner, "".join(f"{part}." for part in parents))
    rule = RULES.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    rule = rule.replace("Input should be", "must be").replace("greater than or equal to", ">=")
    rule = rule.replace("greater than", ">").replace("less than or equal to", "<=").replace("less than", "<")
    match first["type"]:
        case "union_tag_invalid":
            kind = first["ctx"]["discriminator"].strip("'")
            rule = f"must have a {kind} among {first['ctx']['expected_tags']}, however: {first['ctx']['tag']!r}"
        case "union_tag_not_found":
            names = ", ".join(repr(_tag(piece)) for piece in _models_at(path, model))
            kind = first["ctx"]["discriminator"].strip("'")
            rule = f"must have a {kind} among {names}"
    if "however: " not in rule:
        rule = f"{rule}, however: {first['input']!r}"
    if not rule.startswith("must"):  # a rule over several settings names them itself
        return rule if rule.endswith(".") else f"{rule}."
    return f"{'.'.join(path) or model.__name__} {rule}.{_by_name(first, path, model)}"


def _by_name(error: Any, path: list[str], model: type[BaseModel]) -> str:
    """The remedy where a piece was given as the one word that names it."""
    if error["type"] not in ("model_type", "model_attributes_type") or not isinstance(error["input"], str):
        return ""
    kinds = [kind for piece in _models_at(path, model) for kind in ("name", "family") if kind in piece.model_fields]
    return f" For example: {'.'.join(path)}.{kinds[0]}={error['input']}." if kinds else ""


def _walk(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[list[str], type[BaseModel]]:
    """The settings' names along an error's place, without pydantic's own marks, and the model the last one is in."""
    path: list[str] = []
    for part in loc:
        if isinstance(part, int):
            continue
        nested = _models_in(model.model_fields[path[-1]].annotation) if path and path[-1] in model.model_fields else []
        tagged = [m for m in nested if _tag(m) == part]
        if tagged:
            model = tagged[0]
        elif not path or nested or part in model.model_fields or part == loc[-1]:
            if len(nested) == 1:
                model = nested[0]
            if "-" not in part and "[" not in part:
                path.append(part)
    return path, model


def _tag(model: type[BaseModel]) -> Any:
    """What tells a piece of a union from the others: its name, or its family."""
    field = model.model_fields.get("name") or model.model_fields.get("family")
    return field.default if field else None


def _models_at(path: list[str], model: type[BaseModel]) -> list[type[BaseModel]]:
    """The pieces that may stand at ``path``."""
    found = [model]
    for name in path:
        found = [piece for one in found if name in one.model_fields for piece in _field_models(one, name)]
    return found


def _field_models(model: type[BaseModel], name: str) -> list[type[BaseModel]]:
    return _models_in(model.model_fields[name].annotation)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
