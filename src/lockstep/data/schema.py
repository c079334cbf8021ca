"""What a source was understood to hold: every column with its kind, the target, and the classes."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from lockstep.data.values import NumberStyle
from lockstep.spec.data import Kind, Task

ColumnKind = Literal["number", "category", "boolean", "date", "identifier", "constant", "text"]
TokenKind = Literal["wordpiece", "word", "character"]
LabelType = Literal["text", "integer", "number", "boolean"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Record):
    """One column of a table, as understood.

    ``used`` says whether the network sees it; ``why`` why not, or why it is of this kind where that is not plain.
    ``missing`` and ``distinct`` count rows and present values; ``low``, ``high``, ``mean`` and ``std`` are of the
    numbers (of a date: days since 1970). A number is encoded as ``(value − offset) · scale``. ``odd`` are spellings
    that count as missing in this column alone. ``number_style``, ``date_format`` and ``date_parts`` say how its text
    is read. ``categories`` are the known values; the ``rare`` further values share the code of the unseen.
    """

    name: str
    kind: ColumnKind
    used: bool = True
    why: str = ""
    categories: tuple[str, ...] = ()
    offset: float = 0.0
    scale: float = 1.0
    missing: int = 0
    distinct: int = 0
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    std: float | None = None
    examples: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    rare: int = 0
    number_style: NumberStyle = "plain"
    date_format: str | None = None
    date_parts: tuple[str, ...] = ()

    @property
    def number_names(self) -> tuple[str, ...]:
        """The names of the numbers that this column gives: itself, or ``name.part`` for each part of a date."""
        if self.kind == "date":
            return tuple(f"{self.name}.{part}" for part in self.date_parts)
        return (self.name,) if self.kind in ("number", "boolean") else ()


class Forecast(_Record):
    """What is forecast from what: ``horizon`` rows from the ``context`` rows before, ``step`` apart in ``time``.

    ``step`` is in seconds where the time is a ``clock``'s; ``period`` rows make the usual season (1: none known).
    """

    time: str | None
    horizon: int
    context: int
    step: float
    period: int
    clock: bool


class Vocabulary(_Record):
    """The known tokens: ``entries[j]`` is number 2 + j, 0 is padding and 1 any other. ``steps`` is how many tokens of a
    text are read, ``spelling`` how many features of its spelling stand beside them."""

    kind: TokenKind
    entries: tuple[str, ...]
    steps: int
    spelling: int = 0

    @property
    def size(self) -> int:
        """How many numbers tokens may have, padding and unknown too."""
        return 2 + len(self.entries)


class Schema(_Record):
    """A whole source as understood. ``rows`` counts those with a target.

    ``columns`` are all but the target, in the order of the source (of series, the channels; of images, none).
    ``classes`` are the labels as text, numbers in numerical order, () for regression; ``class_counts`` their rows.
    ``missing`` are all spellings of a missing value. ``image_shape`` is that of one image, as it was given. ``steps``
    is the length of the longest series; ``vocabulary`` the tokens of text, once they are learned.
    """

    kind: Kind
    task: Task
    target: str | None = None
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    label_type: LabelType = "text"
    columns: tuple[Column, ...] = ()
    target_column: Column | None = None
    missing: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None
    steps: int = 0
    vocabulary: Vocabulary | None = None
    forecast: Forecast | None = None
    rows: int = 0

    @property
    def used_columns(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.used)

    @property
    def number_names(self) -> tuple[str, ...]:
        """The names of the encoded numbers [Dn], in order: numbers, booleans as 0 and 1, and the parts of dates."""
        return tuple(name for column in self.used_columns for name in column.number_names)

    @property
    def number_columns(self) -> tuple[str, ...]:
        """The column that each of ``number_names`` comes from."""
        return tuple(column.name for column in self.used_columns for _ in column.number_names)

    @property
    def category_columns(self) -> tuple[str, ...]:
        """The names of the encoded categories [Dc], in order."""
        return tuple(column.name for column in self.used_columns if column.kind == "category")

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """How many codes each category column has: unseen, missing, and one per category."""
        return tuple(2 + len(column.categories) for column in self.used_columns if column.kind == "category")

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def labels(self, codes: ArrayLike) -> NDArray[Any]:
        """Class codes (of any shape) as labels of the type the target had: integers, floats, booleans or text."""
        match self.label_type:
            case "integer":
                values: NDArray[Any] = np.array([int(label) for label in self.classes])
            case "number":
                values = np.array([float(label) for label in self.classes])
            case "boolean":
                values = np.array([label == "True" for label in self.classes])
            case _:
                values = np.array(self.classes)
        return values[np.asarray(codes, dtype=np.int64)]
