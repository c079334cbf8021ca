"""The charts of one page and the tables they read, collected section by section."""

import json
from dataclasses import dataclass, field
from typing import Any

from lockstep.report.charts import Chart
from lockstep.report.history import Columns

# What ends a script element, opens a comment in one, or is no newline in JSON but one in JavaScript.
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass
class Figures:
    """Charts by id, and the tables that several of them share."""

    charts: dict[str, Chart] = field(default_factory=dict)
    tables: dict[str, Columns] = field(default_factory=dict)

    def to_json(self) -> str:
        """Everything page.js draws, safe inside a script element whatever the data says."""
        return safe_json({"tables": self.tables, "charts": {name: chart.spec for name, chart in self.charts.items()}})


def safe_json(value: Any) -> str:
    """JSON that may stand inside an HTML script element: no ``<``, ``>``, ``&``, U+2028 or U+2029 in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text
