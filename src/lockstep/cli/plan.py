"""``lockstep plan``: what fit would do, without doing it."""

from lockstep.cli import options as o
from lockstep.cli.text import table


def plan(
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
) -> None:
    """Say what fit (or compare, with --vary) would choose for DATA, and why, without training."""
    flags = o.keywords(locals())
    flags["vary"] = list(vary or ())
    from lockstep.jobs.plan import plan as job

    choices = job(data, **flags)
    rows = [[str(choice["choice"]), str(choice["value"]), str(choice["reason"])] for choice in choices]
    print("\n".join(table(rows, ["choice", "value", "reason"])))
