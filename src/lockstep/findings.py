"""The record of something noticed about data, spec or training: what, on what evidence, what to do."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["info", "warning", "severe"]


def count_of(n: int, one: str, several: str) -> str:
    """``"1 row has"``, ``"2,000 rows have"``."""
    return f"{n:,} {one if n == 1 else several}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing noticed.

    ``code`` is a stable identifier in kebab-case (``"target-leak"``), ``subject`` the column, class or member that
    it is about, ``what`` one sentence, ``evidence`` the numbers behind it, ``remedy`` what the user can do.
    """

    severity: Severity
    code: str
    subject: str
    what: str
    evidence: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
