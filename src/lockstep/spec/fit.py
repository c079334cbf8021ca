"""The whole of what ``lockstep fit`` trains, as data, and how flags, files and keywords come together in it."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import tomli_w
import yaml

from lockstep.errors import SpecError
from lockstep.spec.base import unknown_key
from lockstep.spec.data import DataSpec
from lockstep.spec.ensemble import Ensemble
from lockstep.spec.network import Mlp, Model, Preprocess
from lockstep.spec.training import TrainSpec


class FitSpec(TrainSpec):
    """A recipe with every number filled in: data → preprocess → model → loss → optimiser."""

    fixed: ClassVar[Mapping[str, str]] = {
        **TrainSpec.fixed,
        "recipe": "it is what all their settings start from; vary model instead",
        "data": DataSpec.fixed["*"],
        "preprocess": "vary its settings one by one, as in preprocess.numbers",
        "ensemble": Ensemble.fixed["*"],
    }

    recipe: str = "mlp"
    data: DataSpec = DataSpec()
    preprocess: Preprocess = Preprocess()
    model: Model = Mlp()
    ensemble: Ensemble = Ensemble()

    def override(self, settings: dict[str, Any]) -> Self:
        """A copy with nested ``settings`` laid over this one.

        Naming another optimiser, schedule or family starts from that one's own defaults.
        """
        for key in settings:
            if key not in type(self).model_fields:
                raise SpecError(unknown_key(key, type(self)))
        return type(self).parse(merge(self.model_dump(mode="json"), settings))

    def to_toml(self) -> str:
        """The spec as TOML that ``read_settings`` reads back."""
        return tomli_w.dumps(_none_in_words(self.model_dump(mode="json")))


TAGS = {"optimizer": "name", "schedule": "name", "model": "family"}


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings laid over others. Naming another optimiser, schedule or family starts from nothing.

    An axis of pieces is laid over as each of its pieces would be, and what is laid over one, over each of them.
    """
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        if varies(value):
            pieces = [one if not isinstance(one, Mapping) else merge(merged, {key: one})[key] for one in value["vary"]]
            merged[key] = {"vary": pieces}
        elif not isinstance(value, Mapping) or not isinstance(inner, dict):
            merged[key] = value
        elif varies(inner) and TAGS.get(key) not in value:
            merged[key] = {"vary": [merge({key: one}, {key: value})[key] for one in inner["vary"]]}
        elif (tag := TAGS.get(key)) and value.get(tag, inner.get(tag)) != inner.get(tag):
            merged[key] = dict(value)
        else:
            merged[key] = merge(inner, value)
    return merged


def varies(value: Any) -> bool:
    """Whether a setting is an axis, as files say it."""
    return isinstance(value, Mapping) and set(value) == {"vary"}


def _none_in_words(value: Any) -> Any:
    """TOML has no null: ``none`` stands for it, as on the command line."""
    if isinstance(value, dict):
        return {key: _none_in_words(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_none_in_words(item) for item in value]
    return "none" if value is None else value


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """``["optimizer.lr=3e-3", "model.hidden=256,256"]`` as nested settings.

    A value is JSON where it is JSON (numbers, true, null, lists), a list where it has commas, else the text itself.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        path = key.strip().split(".")
        if not equals or not all(path):
            raise SpecError(f"A setting is key=value, however: {assignment!r}. For example: --set optimizer.lr=3e-3.")
        nest(settings, path, parse_value(text.strip()))
    return settings


def nest(settings: dict[str, Any], path: list[str], value: Any) -> None:
    """Put ``value`` at ``path`` in nested dictionaries, making those on the way."""
    *parents, last = path
    for parent in parents:
        settings = settings.setdefault(parent, {})
        if not isinstance(settings, dict):
            raise SpecError(f"{'.'.join(path)} is set twice, once as a whole and once in part. Give one of the two.")
    settings[last] = value


def parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    if "," in text:
        return [parse_value(part.strip()) for part in text.split(",") if part.strip()]
    return text


class _Yaml(yaml.SafeLoader):
    """YAML 1.1 takes ``1e-3`` for text, for want of a dot; here it is the number that it looks like."""


_Yaml.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


def read_settings(path: Path) -> dict[str, Any]:
    """The nested settings in a TOML, YAML or JSON file; an error names the file, the place and the reason."""
    if not path.is_file():
        raise SpecError(f"The spec file must exist, however there is none at {path}.")
    try:
        text = path.read_text(encoding="utf-8")
        match path.suffix.lower():
            case ".toml":
                settings = tomllib.loads(text)
            case ".yaml" | ".yml":
                settings = yaml.load(text, Loader=_Yaml)
            case ".json":
                settings = json.loads(text)
            case suffix:
                raise SpecError(f"A spec file is .toml, .yaml or .json, however: {suffix or 'no ending'} ({path}).")
    except (tomllib.TOMLDecodeError, yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"The spec file {path} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(settings, dict):
        raise SpecError(f"A spec file holds settings by name, however {path} holds {type(settings).__name__}.")
    return settings
