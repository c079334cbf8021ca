"""Numbers as a reader wants them: as many digits as the interval supports, thousands separated, units spelled."""

import math
from typing import Any

MINUS = "\u2212"  # as wide as a plus sign, unlike the hyphen
NARROW = "\u202f"  # the space between a number and its unit, which does not break
DASH = "\u2013"

# Metrics between 0 and 1 (r2 may fall below): printed without the leading zero, as journals do.
SHARES = frozenset(
    [
        "accuracy",
        "balanced_accuracy",
        "top_2_accuracy",
        "top_5_accuracy",
        "auc",
        "average_precision",
        "f1",
        "precision",
        "recall",
        "r2",
        "coverage",
        "brier",
        "calibration_error",
        "mcc",
        "kappa",
    ]
)
LOWER_IS_BETTER = frozenset(
    [
        "log_loss",
        "brier",
        "calibration_error",
        "rmse",
        "mae",
        "mse",
        "mape",
        "median_absolute_error",
        "max_error",
        "pinball",
    ]
)
NAMES = {
    "accuracy": "accuracy",
    "auc": "AUC",
    "f1": "F1",
    "brier": "Brier score",
    "rmse": "RMSE",
    "mae": "MAE",
    "mse": "MSE",
    "r2": "R²",
    "mcc": "Matthews correlation",
    "pinball": "pinball loss",
}
MEANINGS = {
    "accuracy": "share of rows predicted right",
    "balanced_accuracy": "share predicted right within each class, averaged over the classes",
    "auc": "chance that a row of the class gets a higher score than a row of another; .5 is guessing",
    "average_precision": "precision averaged over all recall levels",
    "f1": "harmonic mean of precision and recall",
    "precision": "share of the rows given a class that belong to it",
    "recall": "share of the rows of a class that are found",
    "log_loss": "mean surprise at the true class, in nats; punishes confident mistakes",
    "brier": "mean squared error of the probabilities",
    "calibration_error": "mean distance between predicted probability and observed share",
    "rmse": "root of the mean squared error, in the target's unit",
    "mae": "mean absolute error, in the target's unit",
    "mse": "mean squared error",
    "pinball": "mean error, weighted by the quantile's level on the side it is on, in the target's unit",
    "coverage": "share of targets at or below the prediction",
    "r2": "share of the target's variance explained",
    "mcc": "correlation of predicted and true classes",
}


def meaning(metric: str, task: Any = None) -> str:
    """A metric in words. A forecast's errors are in units of each column's spread while training."""
    said = MEANINGS.get(metric, "")
    return said.removesuffix(", in the target's unit") if task == "forecast" else said


def metric_name(metric: str) -> str:
    """``"log_loss"`` as a reader says it: ``"log loss"``."""
    return NAMES.get(metric, metric.replace("_", " "))


def capital(text: str) -> str:
    """The text with its first letter in upper case and the rest untouched."""
    return text[:1].upper() + text[1:]


def finite(value: Any) -> float | None:
    """``value`` as a float, or None where it is missing, not a number, NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def count(value: Any) -> str:
    """``32561`` as ``"32,561"``; a dash where there is none."""
    number_ = finite(value)
    return DASH if number_ is None else f"{round(number_):,}".replace("-", MINUS)


def plural(n: int, singular: str, many: str | None = None) -> str:
    """``"1 network"``, ``"5 networks"``."""
    return f"{count(n)} {singular if n == 1 else many or singular + 's'}"


def percent(share: float | None, digits: int | None = None) -> str:
    """``0.0652`` as ``"6.5 %"``; one decimal below 10 % and above 90 %, where they matter, unless told."""
    if (share := finite(share)) is None:
        return DASH
    value = 100 * share
    if digits is None and (0 < value < 0.05 or 99.95 <= value < 100):
        return f"{'<0.1' if value < 1 else '>99.9'}{NARROW}%"
    if digits is None:
        digits = 0 if value in (0, 100) or 10 <= value <= 90 else 1
    return f"{value:.{digits}f}{NARROW}%".replace("-", MINUS)


def number(value: Any, digits: int = 4) -> str:
    """A number to ``digits`` significant digits: ``51234.5`` as ``"51,234"``, ``1.2e-7`` as ``"1.2e−7"``."""
    if (value := finite(value)) is None:
        return DASH
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size > 14:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}".replace("-", MINUS)
    text = f"{value:,.{max(0, digits - 1 - size)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", MINUS)


def decimals(low: float | None, high: float | None, value: float | None = None) -> int:
    """How many decimals an estimate supports: two significant digits of its interval's width.

    Without a width, four significant digits of the value.
    """
    if low is None or high is None or high <= low:
        size = math.floor(math.log10(abs(value))) if value else 0
        return min(6, max(0, 3 - size))
    return min(6, max(0, 1 - math.floor(math.log10(high - low))))


def score(metric: str, value: Any, places: int | None = None) -> str:
    """A metric's value: ``".874"`` for shares, ``"51,234"`` or ``"0.451"`` for the rest."""
    if (value := finite(value)) is None:
        return DASH
    if places is None:
        places = 3 if metric in SHARES else decimals(None, None, value)
    text = f"{value:z,.{places}f}"  # z: no minus before zero
    if metric in SHARES:
        text = text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
    return text.replace("-", MINUS)


def places_for(metric: str, low: Any, high: Any, value: Any = None) -> int:
    """Decimals for a metric with an interval; at least three for shares, so that columns line up."""
    places = decimals(finite(low), finite(high), finite(value))
    return min(max(places, 3), 5) if metric in SHARES else places


def interval(metric: str, low: Any, high: Any, places: int) -> str:
    """``"[.869, .879]"``, or nothing where either end is missing."""
    if finite(low) is None or finite(high) is None:
        return ""
    return f"[{score(metric, low, places)}, {score(metric, high, places)}]"


def duration(seconds: Any) -> str:
    """``72.3`` as ``"1 min 12 s"``."""
    if (seconds := finite(seconds)) is None:
        return DASH
    if seconds < 0.95:
        return f"{seconds:.2f}{NARROW}s" if seconds < 0.1 else f"{seconds:.1f}{NARROW}s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = [(hours, "h"), (minutes, "min"), (rest if not hours else 0, "s")]
    return " ".join(f"{n}{NARROW}{unit}" for n, unit in parts if n)


def rounded(value: Any, digits: int = 5) -> float | None:
    """``value`` to ``digits`` significant digits, for data in the page; None where it is not finite."""
    value = finite(value)
    return None if value is None else float(f"{value:.{digits}g}")


def label(text: Any, most: int = 80) -> str:
    """Text as a chart can carry it: one line, no control characters (a JavaScript line separator among them)."""
    line = "".join(c if c.isprintable() else " " for c in str(text))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def words(items: list[str], last: str = "and") -> str:
    """``["a", "b", "c"]`` as ``"a, b and c"``."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"
