"""What the user says about the data, as data. Everything left unsaid is inferred, and the report says how."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from lockstep.spec.base import Frozen

Task = Literal["binary", "multiclass", "regression", "forecast"]
Kind = Literal["table", "images", "series", "text", "forecast"]


def _names(value: Any) -> Any:
    """One name, a list or ``"a,b"``: a tuple of names."""
    match value:
        case str():
            return tuple(part.strip() for part in value.split(",") if part.strip())
        case list():
            return tuple(str(item) for item in value)
        case int() | float():
            return (str(value),)
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


def _height_and_width(value: Any) -> Any:
    """``64`` for a square, ``[48, 64]`` or ``"48x64"`` for height and width."""
    match value:
        case int():
            return (value, value)
        case str():
            return tuple(value.lower().split("x"))
        case list():
            return tuple(value)
    return value


Pixels = Annotated[int, Field(ge=1)]
Size = Annotated[tuple[Pixels, Pixels], BeforeValidator(_height_and_width)]


def _parts(value: Any) -> Any:
    """``"8640,2880,2880"`` or a list: three numbers of rows."""
    if isinstance(value, str):
        value = [int(part) if part.strip().isdecimal() else part for part in value.split(",")]
    return tuple(value) if isinstance(value, list) else value


PartRows = Annotated[int, Field(ge=1)]
Parts = Annotated[tuple[PartRows, PartRows, PartRows], BeforeValidator(_parts)]


class DataSpec(Frozen):
    """Target, columns and rows.

    ``kind`` settles what the data is where that can be taken two ways: an array [N, T, C] is images unless ``series``
    (or lengths) say otherwise; a table with a column of free text is that text alone where it says ``text``.
    ``image_size`` is the height and width that the pictures of a folder are resized to.
    ``number``, ``category``, ``boolean``, ``date``, ``identifier``, ``text`` and ``drop`` override the guess for the
    columns they name; ``keep`` keeps a column that would be set aside because it gives the target away. ``missing``
    adds spellings of a missing value to the usual ones. ``group`` names a column whose values never stand on both
    sides of a split; ``time`` one by which the last rows become validation and test rows. ``valid`` and ``test`` are
    files whose rows are taken instead.

    ``horizon`` makes a table whose rows follow one another in time a forecast: of each target column (all columns of
    numbers unless ``target`` names some, with commas between) the next ``horizon`` rows from the last ``context`` ones.
    ``parts`` are then the rows of training, validation and test, where shares are not exact enough.
    """

    fixed: ClassVar[Mapping[str, str]] = {"*": "they are compared on the same data"}

    kind: Kind | None = None
    target: str | None = None
    task: Task | None = None
    header: bool = True
    encoding: str = "utf-8"
    image_size: Size | None = None
    missing: Names = ()
    number: Names = ()
    category: Names = ()
    boolean: Names = ()
    date: Names = ()
    identifier: Names = ()
    text: Names = ()
    drop: Names = ()
    keep: Names = ()
    group: str | None = None
    time: str | None = None
    valid: str | None = None
    test: str | None = None
    test_size: float = Field(default=0.2, ge=0, lt=1)
    horizon: int | None = Field(default=None, ge=1)
    context: int | None = Field(default=None, ge=2)
    parts: Parts | None = None
