"""A finished (or cut-off) run, ready to use: ``lockstep.load``."""

import html
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data import Raw, Schema, encode, read, reading
from lockstep.engine.train import pick_device
from lockstep.errors import RunError
from lockstep.evaluation import LOSS
from lockstep.jobs.ensemble import read_record
from lockstep.jobs.forecast import offsets
from lockstep.jobs.model import Floats, Model, best_candidate, load_network
from lockstep.network.heads import loss_for
from lockstep.runs import RunFolder, open_run
from lockstep.spec import FitSpec, candidates


class Run:
    """A run folder as an object. Everything is read from the folder when it is first asked for."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.path: Path = folder.path

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return self._folder.manifest()

    @cached_property
    def spec(self) -> FitSpec:
        return self._folder.spec()

    @cached_property
    def schema(self) -> Schema:
        try:
            return Schema.model_validate_json(self._folder.schema_json())
        except ValueError:
            raise RunError(
                f"The run is damaged: {self.path / 'schema.json'} is not a schema of this version. "
                "Copy the run again, or train again."
            ) from None

    @property
    def classes(self) -> NDArray[Any]:
        """The labels, in the order of the columns of ``predict_proba``; empty for regression."""
        return self.schema.labels(np.arange(len(self.schema.classes)))

    @property
    def metrics(self) -> dict[str, Any]:
        """The ensemble's metrics by name, each ``{"value", "low", "high"}``; what they were measured on is
        ``evaluation["rows"]``."""
        return dict(self.evaluation["metrics"])

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        return self._folder.metrics()

    @cached_property
    def history(self) -> pl.DataFrame:
        return self._folder.history()

    @property
    def trained_on(self) -> NDArray[np.uint64]:
        """A hash of each row that the run trained or stopped on: of its inputs (``lockstep.data.hash_rows``), or of its
        text as it is written (``hash_texts``)."""
        return self._folder.trained_on()

    @property
    def findings(self) -> list[dict[str, Any]]:
        return list(self.manifest.get("findings", []))

    @cached_property
    def leaderboard(self) -> pl.DataFrame:
        """One row per member with its test and out-of-fold scores, best out-of-fold log loss or error first."""
        rows = [
            {"member": m["member"], "candidate": m["candidate"], "fold": m["fold"], "seed": m["seed"]}
            | {key: str(value) for key, value in m["choices"].items()}
            | {f"out_of_fold_{name}": value for name, value in m["out_of_fold"].items()}
            | {f"test_{name}": value for name, value in (m["test"] or {}).items()}
            for m in self.evaluation["members"]
        ]
        by = f"out_of_fold_{LOSS[self.schema.task]}"
        return pl.DataFrame(rows, infer_schema_length=None).sort(by)

    @cached_property
    def comparison(self) -> dict[str, Any] | None:
        """How the candidates compare, the content of ``comparison.json``; None where there are no two to compare."""
        return self._folder.comparison() if (self.path / "comparison.json").exists() else None

    @cached_property
    def model(self) -> Model:
        """The networks that are the model, and how they are one.

        Of several candidates, those of the one that ``comparison`` ranks first (without a comparison, of the lowest
        validation loss), or those that ``ensemble.method`` combines. Of a run that was cut off, with the
        best weights of its last checkpoint.
        """
        if self._folder.complete:
            weights = {member: self._folder.weights(member) for member in self._folder.members()}
        else:
            weights = {}
            for name, array in self._folder.read_checkpoint().arrays.items():
                member, _, part = name.partition("/")
                weights.setdefault(int(member), {})[part] = array
        candidate_of = {m["member"]: m["candidate"] for m in self.manifest["population"]["members"]}
        chosen = self.manifest.get("winner")
        if chosen is None:
            chosen = best_candidate(self.history.filter(pl.col("member").is_in(list(weights))))
        specs = [spec for _, spec in candidates(self.spec)]
        kept = self.manifest.get("ensemble") or {}
        models, combination = read_record(kept) if "combination" in kept else ((), None)
        combined = {member for members in models for member in members}
        networks = {
            member: load_network(specs[candidate_of[member]], self.schema, own, member)
            for member, own in weights.items()
            if (member in combined if combination else candidate_of[member] == chosen)
        }
        if not networks:
            raise RunError(f"The run at {self.path} has no usable network: no member got through its first epoch.")
        losses = {m: loss_for(self.schema.task, specs[candidate_of[m]].loss.name) for m in networks}
        return Model(self.schema, losses, networks, pick_device("cpu"), models, combination)

    def predict_proba(self, data: Any) -> Floats:
        """Probabilities ``[N, C]``, columns as in ``classes``. ``data`` is anything ``fit`` takes, without target."""
        if not self.schema.classes:
            raise RunError("Probabilities need classes, however this run predicts a number. Use predict.")
        return self.model.predict(self.inputs(data))

    def predict(self, data: Any) -> NDArray[Any]:
        """Labels in the type of the target, or numbers, ``[N]``; of a forecast the rows after ``data``, ``[H, C]``."""
        prediction = self.model.predict(self.inputs(data))
        if self.schema.kind == "forecast":
            return np.asarray((prediction[0] + offsets(self.schema)).T)
        return self.schema.labels(prediction.argmax(1)) if self.schema.classes else prediction

    def inputs(self, data: Any) -> tuple[NDArray[Any], ...]:
        """Raw rows as the networks take them."""
        return encode(self.read(data), self.schema, with_target=False).inputs

    def read(self, data: Any) -> Raw:
        """The rows of ``data``, read as those were that the run was trained on."""
        return read(data, reading(self.spec.data, self.schema))

    def progress(self) -> str:
        """How far the run got, in a sentence."""
        return self._folder.progress()

    def __repr__(self) -> str:
        lines = [f"Run at {self.path}. {self.progress()}"]
        if (self.path / "metrics.json").exists():
            lines += [f"{name:>20} {text}" for name, text in summary(self.evaluation)]
            lines.append(f"Measured on {judged_on(self.evaluation)}. {self.report_path}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        parts = [
            f"<p><b>Lockstep run</b> <code>{html.escape(str(self.path))}</code><br>{html.escape(self.progress())}</p>"
        ]
        if (self.path / "metrics.json").exists():
            rows = "".join(
                f"<tr><th>{html.escape(name)}</th><td>{text}</td></tr>" for name, text in summary(self.evaluation)
            )
            parts.append(f"<table>{rows}</table><p>{judged_on(self.evaluation)}.</p>")
        return "".join(parts)


def judged_on(evaluation: dict[str, Any]) -> str:
    """``"6,512 test rows"``."""
    return f"{evaluation['n_rows']:,} {evaluation['rows']} {evaluation.get('unit', 'rows')}"


def summary(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    """Each metric as (name, "0.874 [0.869, 0.879]")."""
    return [
        (name, f"{number(m['value'])} [{number(m['low'])}, {number(m['high'])}]")
        for name, m in evaluation["metrics"].items()
    ]


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def load(path: str | Path) -> Run:
    """The run in a folder. Raises ``RunError`` where it is missing, incomplete or damaged; never runs code from it."""
    return Run(open_run(path))
