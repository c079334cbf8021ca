"""What the user says about the data, as data. Everything left unsaid is inferred, and the report says how."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from lockstep.spec.base import Frozen

Task = Literal["binary", "multiclass", "regression"]
Kind = Literal["table", "images"]


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


class DataSpec(Frozen):
    """Target, columns and rows.

    ``number``, ``category``, ``boolean``, ``date``, ``identifier``, ``text`` and ``drop`` override the guess for the
    columns they name; ``keep`` keeps a column that would be set aside because it gives the target away. ``missing``
    adds spellings of a missing value to the usual ones. ``group`` names a column whose values never stand on both
    sides of a split; ``time`` one by which the last rows become validation and test rows. ``valid`` and ``test`` are
    files whose rows are taken instead.
    """

    target: str | None = None
    task: Task | None = None
    header: bool = True
    encoding: str = "utf-8"
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
