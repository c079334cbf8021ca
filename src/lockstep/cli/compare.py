"""``lockstep compare``: which settings are right for this data, and how sure that is."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lockstep.cli import options as o
from lockstep.cli.errors import INTERRUPTED
from lockstep.cli.fit import result_lines
from lockstep.cli.text import count, table

if TYPE_CHECKING:
    from lockstep.jobs.run import Run

ROWS = 20  # of a long ranking


def compare(
    data: o.Data,
    target: o.Target = None,
    vary: o.Vary = None,
    no_header: o.NoHeader = False,
    valid: o.Valid = None,
    test: o.Test = None,
    test_size: o.TestSize = None,
    recipe: o.Recipe = None,
    spec: o.Spec = None,
    settings: o.Set = None,
    folds: o.Folds = None,
    seeds: o.Seeds = None,
    seed: o.Seed = None,
    members: o.Members = None,
    halve: o.Halve = None,
    epochs: o.Epochs = None,
    device: o.Device = "auto",
    executor: o.Executor = "auto",
    precision: o.Precision = "auto",
    threads: o.Threads = None,
    at_once: o.AtOnce = None,
    out: o.Out = None,
    overwrite: o.Overwrite = False,
    quiet: o.Quiet = False,
) -> int:
    """Train every combination of the --vary settings on the same folds and seeds, rank them, and keep the best."""
    flags = o.keywords(locals())
    from lockstep.spec.axes import parse_axes

    flags["vary"] = parse_axes(list(vary or ()))
    from lockstep.jobs.compare import compare as job

    run = job(data, **flags)
    print("\n".join(compared_lines(run, quiet=quiet)))
    return INTERRUPTED if run.manifest["status"] == "interrupted" else 0


def compared_lines(run: "Run", *, quiet: bool) -> list[str]:
    """The ranking and what it shows, then the winner as ``fit`` tells of a run."""
    found = run.comparison
    if found is None:
        return result_lines(run, quiet=quiet)
    lines = [*ranking(found), *(factor_line(factor) for factor in found["factors"] if len(found["factors"]) > 1)]
    took = f"{count(found['networks'], 'network')} in {count(found['stacks'], 'stack')}"
    said = [line for line in (found["verdict"], found["caution"], found["how"]) if line]
    lines += ["", *said, f"{took}, {duration(found['seconds'])}.", ""]
    lines.append(f"The winner is {found['label']}.")
    return [*lines, *result_lines(run, quiet=quiet)]


def ranking(found: Mapping[str, Any]) -> list[str]:
    """A line per candidate, the best first, with its difference to the best."""
    from lockstep.report.format import metric_name
    from lockstep.spec.names import say, short

    halved = found.get("halved") or []
    paths = list(dict.fromkeys(path for one in [*found["candidates"], *halved] for path in one["choices"]))
    rows = [
        [
            str(one["rank"]),
            *(say(one["choices"].get(path, "-")) for path in paths),
            places(one["mean"]),
            "" if one["rank"] == 1 else to_the_best(one),
            "-" if one["probability_best"] is None else f"{100 * one['probability_best']:.0f} %",
        ]
        for one in found["candidates"][:ROWS]
    ]
    header = ["", *map(short, paths), metric_name(found["metric"]), "to the best, 95 %", "best?"]
    who, over = count(len(found["candidates"]), "candidate"), f"{found['folds']} folds × {found['seeds']} seeds"
    if halved:
        who = f"{len(found['candidates'])} of {len(found['candidates']) + len(halved)} candidates, trained to the end"
    lines = [f"{who}, {over}, {found['rows']}:", *(f"  {line}" for line in table(rows, header))]
    if left := len(found["candidates"]) - ROWS:
        lines += [f"  … {left} more in comparison.json and the report"] if left > 0 else []
    if found["left_out"]:
        lines.append(f"  {count(found['left_out'], 'candidate')} left out: not trained on all folds and seeds")
    return lines + left_behind(halved, paths)


def left_behind(halved: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> list[str]:
    """A line per candidate that was halved: after which epoch, and its score then."""
    from lockstep.spec.names import say, short

    if not halved:
        return []
    rows = [
        [*(say(one["choices"].get(path, "-")) for path in paths), str(one["epoch"]), places(one["score"])]
        for one in halved[:ROWS]
    ]
    lines = table(rows, [*map(short, paths), "after epoch", halved[0]["measure"]])
    more = len(halved) - ROWS
    return [
        "Left behind on the way, each by its score at that epoch:",
        *(f"  {line}" for line in lines),
        *([f"  … {more} more in comparison.json and the report"] if more > 0 else []),
    ]


def to_the_best(one: Mapping[str, Any]) -> str:
    """``-0.0035 [-0.0129, +0.0060]``."""
    if one["difference"] == one["low"] == one["high"] == 0:
        return "none, fold by fold"
    return f"{signed(one['difference'])} [{signed(one['low'])}, {signed(one['high'])}]"


def factor_line(factor: Mapping[str, Any]) -> str:
    """What one setting makes of it: ``optimizer: adam .981, sgd .972. adam is best …``."""
    levels = ", ".join(f"{level['level']} {places(level['mean'])}" for level in factor["levels"])
    return f"{factor['name']}: {levels}. {factor['verdict']}"


def places(value: float | None) -> str:
    from lockstep.cli.text import number

    return number(value)


def signed(value: float | None) -> str:
    return "?" if value is None else f"{value:+.4f}" if abs(value) < 10 else f"{value:+,.4g}"


def duration(seconds: float) -> str:
    from lockstep.jobs.progress import duration

    return duration(seconds)
