"""The ground of every spec: frozen, typed, hashable, comparable, storable, and refusing with one clear sentence."""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, core_schema

from lockstep.errors import SpecError


@dataclass(frozen=True, init=False, repr=False)
class Vary:
    """An axis of candidates: ``Vary(1e-3, 3e-3)`` stands where one value belongs and means each of them in turn."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        if not values:
            raise SpecError("Vary needs at least one value, however: Vary(). Give the values to try: Vary(1e-3, 3e-3).")
        object.__setattr__(self, "values", tuple(tuple(v) if isinstance(v, list) else v for v in values))

    def __repr__(self) -> str:
        return f"Vary({', '.join(map(repr, self.values))})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _as_vary,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda v: {"vary": list(v.values)}),
        )


def _as_vary(value: Any) -> Vary:
    match value:
        case Vary():
            return value
        case {"vary": [*values]}:
            return Vary(*values)
    raise ValueError("must be a Vary")


def in_range(
    *, above: float | None = None, least: float | None = None, below: float | None = None, most: float | None = None
) -> BeforeValidator:
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

    def one(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"must be a number, however: {value!r}")
        if value != value or value in (float("inf"), float("-inf")) or not all(holds(value) for _, holds in rules):
            raise ValueError(f"must be {rule or 'finite'}, however: {value!r}")
        return float(value)

    def check(value: Any) -> Any:
        match value:
            case Vary(values=values) | {"vary": [*values]} | [*values]:
                return Vary(*map(one, values))
        return one(value)

    return BeforeValidator(check)


Number = float | Vary


class Frozen(BaseModel):
    """A piece of a spec. Two with equal fields are equal and hash alike; a wrong field is a ``SpecError``."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise SpecError(explain(error, type(self))) from None

    # Nested pieces are then validated by pydantic itself, and an error carries its whole path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="before")
    @classmethod
    def _none_in_words(cls, fields: Any) -> Any:
        """Files and flags have no null, so ``none`` says it where the field allows it."""
        if not isinstance(fields, dict):
            return fields
        return {
            name: None if value == "none" and isinstance(value, str) and _allows_none(cls, name) else value
            for name, value in fields.items()
        }

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Self:
        """The spec that a plain dictionary (of a file, of flags) says."""
        return cls(**fields)

    def axes(self) -> Iterator[tuple[str, Vary]]:
        """Every axis of candidates in the spec, as (dotted path, axis), in the order of the fields."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Vary):
                yield name, value
            elif isinstance(value, Frozen):
                yield from ((f"{name}.{path}", axis) for path, axis in value.axes())

    def replace(self, path: str, value: Any) -> Self:
        """A copy with the field at the dotted ``path`` set to ``value`` and checked again."""
        head, _, rest = path.partition(".")
        if head not in type(self).model_fields:
            raise SpecError(unknown_key(head, type(self)))
        if rest:
            piece = getattr(self, head)
            if not isinstance(piece, Frozen):
                raise SpecError(f"There is no setting {path}: {head} is a single value, however: {rest!r} in it.")
            value = piece.replace(rest, value)
        return type(self)(**{**self._fields(), head: value})

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).model_fields}


def _allows_none(model: type[BaseModel], name: str) -> bool:
    field = model.model_fields.get(name)
    return field is not None and NoneType in get_args(field.annotation)


def unknown_key(key: str, model: type[BaseModel], prefix: str = "") -> str:
    """The sentence for a setting that does not exist, with the nearest that does."""
    known = list(model.model_fields)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"Did you mean {prefix}{close[0]}?" if close else f"Known here: {', '.join(known)}."
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
    "model_type": "must hold settings by name",
    "model_attributes_type": "must hold settings by name, one of them called name",
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
    return f"{'.'.join(path) or model.__name__} {rule}."


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
            if "-" not in part and "[" not in part and part != "Vary":
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
