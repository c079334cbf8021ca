"""A run's files to everything the template shows."""

import os
import shlex
from pathlib import Path
from typing import Any

from lockstep.report import analysis, comparison, scores, setting, training
from lockstep.report import format as fmt
from lockstep.report.figures import Figures
from lockstep.report.files import Json, RunFiles
from lockstep.report.forecast import forecast
from lockstep.report.members import population, with_history
from lockstep.report.reading import Remark

_SEVERITIES = ("severe", "warning", "info")
_TONES = ("caution", "good", "note")


def context(run: RunFiles) -> tuple[Json, Figures]:
    """The template's variables, and the page's charts with their tables."""
    figures = Figures()
    members = with_history(population(run), run.history)
    headline = scores.headline(run, figures)
    curves = training.training(run, members, figures)
    compared = comparison.comparison(run, figures)
    confusion = analysis.confusion(run, figures)
    residual_remarks = analysis.residuals(run, figures)
    forecast_remarks = forecast(run, figures)
    calibration = analysis.calibration(run, figures)
    importance, importance_left_out = analysis.importance(run, figures)
    by_section: list[list[Remark]] = [
        headline["remarks"] if headline else [],
        curves["remarks"] if curves else [],
        compared["remarks"][:1] if compared else [],
        confusion["remarks"] if confusion else [],
        residual_remarks,
        forecast_remarks,
        [r for r in (calibration, importance) if r],
    ]
    page: Json = {
        "title": _title(run),
        "question": _question(run),
        "status": _status(run),
        "created": setting.moment(run.manifest.get("created")),
        "population": _population(run, members, headline),
        "headline": headline,
        "in_short": _in_short(by_section),
        "findings": _findings(run),
        "metrics": scores.metrics_table(run),
        "metrics_rows": scores.rows_name(run, run.metrics.get("rows")),
        "is_test": run.metrics.get("rows") == "test",
        "n_rows": fmt.count(run.metrics.get("n_rows")),
        "interval_how": str(run.metrics.get("interval") or ""),
        "flatters": run.metrics.get("monitor") != "train_loss",
        "baseline_what": str((run.metrics.get("baseline") or {}).get("what") or ""),
        "leaderboard": scores.leaderboard(run, members),
        "training": curves,
        "comparison": compared,
        "confusion": confusion,
        "residuals": residual_remarks or "actual_predicted" in figures.charts,
        "residual_remarks": residual_remarks,
        "forecast_remarks": forecast_remarks,
        "calibration": calibration,
        "importance": importance,
        "importance_left_out": importance_left_out,
        "part": setting.part(run),
        "unit": setting.unit(run),
        "analysis_rows": scores.rows_name(run, run.analysis.get("rows")),
        "mistakes": analysis.mistakes(run),
        "data": setting.data(run),
        "split": setting.split(run, members),
        "machine": setting.machine(run),
        "plan": setting.plan(run),
        "use": _use(run),
        "command": str(run.manifest.get("command") or ""),
        "spec": run.spec,
        "charts": figures.charts,
    }
    return page, figures


def _in_short(by_section: list[list[Remark]]) -> list[Remark]:
    """Every caution, the result, and of each section what it says first; training's notes stay in their section."""
    result, training_, *rest = by_section
    chosen = [*result, *(r for r in training_ if r.tone == "caution")]
    for remarks in rest:
        chosen += [r for i, r in enumerate(remarks) if i < 2 or r.tone == "caution"]
    return sorted(chosen, key=lambda r: _TONES.index(r.tone))


def _title(run: RunFiles) -> str:
    target, source = run.manifest.get("target"), setting.origin_name((run.manifest.get("data") or {}).get("origin"))
    return f"{target} in {source}" if target else source


def _question(run: RunFiles) -> str:
    """One sentence: what was asked."""
    target = str(run.manifest.get("target") or "")
    classes = [str(c) for c in run.manifest.get("classes") or []]
    source = setting.origin_name((run.manifest.get("data") or {}).get("origin"))
    used = sum(bool(c.get("used", True)) for c in run.schema.get("columns") or [])
    part = {"table": "column", "forecast": "column", "series": "channel"}.get(str(run.manifest.get("kind") or "table"))
    given = f" from {fmt.plural(used, part)} of {source}" if used and part else f" from {source}"
    if run.manifest.get("task") == "forecast":
        ahead = run.schema.get("forecast") or {}
        return (
            f"Forecast the next {'row' if ahead.get('horizon') == 1 else fmt.count(ahead.get('horizon')) + ' rows'} of "
            f"{fmt.plural(used, 'column')} of {source} "
            f"from the last {fmt.count(ahead.get('context'))}."
        )
    if run.manifest.get("task") == "regression":
        return f"Predict the number {target or 'target'}{given}."
    if 2 <= len(classes) <= 4:
        return f"Tell {fmt.words(classes)} apart{f' ({target})' if target else ''}{given}."
    if classes:
        return f"Tell the {len(classes)} classes{f' of {target}' if target else ''} apart{given}."
    return f"Predict {target or 'the target'}{given}."


def _status(run: RunFiles) -> Json:
    state = str(run.manifest.get("status") or "unknown")
    done, planned = run.manifest.get("epochs_done"), run.manifest.get("epochs")
    far = f"epoch {fmt.count(done)} of {fmt.count(planned)}" if done is not None and planned else ""
    if state == "training":
        text = f"This run had not ended when the report was made ({far or 'no epoch yet'})."
        return {"state": "training", "label": f"in training, {far}" if far else "in training", "text": text}
    if state == "interrupted":
        text = f"This run was interrupted at {far or 'an unknown epoch'}; what follows is the best until then."
        return {"state": "interrupted", "label": "interrupted", "text": text}
    return {"state": state, "label": state, "text": ""}


def _population(run: RunFiles, members: list[Json], headline: Json | None) -> str:
    """How many networks, and how they become one model."""
    facts = run.manifest.get("population") or {}
    n = len(members)
    if not n:
        return ""
    axes = [(facts.get("candidates"), "candidate"), (facts.get("folds"), "fold"), (facts.get("seeds"), "seed")]
    sizes = [(_length(size), word) for size, word in axes]
    product = " × ".join(fmt.plural(size, word) for size, word in sizes if size and (size > 1 or word != "candidate"))
    whole = 1
    for size, _ in sizes:
        whole *= size or 1
    many = (
        f" ({product})"
        if product and n > 1 and whole == n
        else f" (some of {product})"
        if product and whole != n
        else ""
    )
    weights = fmt.finite(facts.get("parameters"))
    large = f", with {fmt.count(weights)} parameters{' each' if n > 1 else ''}" if weights else ""
    verb = "was" if n == 1 else "were"
    trained = "trained" if run.manifest.get("status") != "training" else "started"
    text = f"{fmt.plural(n, 'network')}{many} {verb} {trained}{large}"
    ours = len(comparison.shipped(run))
    if run.comparison and headline and ours < n:
        return f"{text}; the average of the {ours} of the best candidate, {run.comparison.get('label')}, is the model."
    return text + ("; their average is the model." if n > 1 and headline else ".")


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | tuple) else int(fmt.finite(value) or 0)


def _findings(run: RunFiles) -> list[Json]:
    listed = [f for f in run.manifest.get("findings") or [] if isinstance(f, dict)]
    findings = [finding.to_dict() for finding in run.damaged] + listed
    known = [f if f.get("severity") in _SEVERITIES else {**f, "severity": "info"} for f in findings]
    return sorted(known, key=lambda f: _SEVERITIES.index(f["severity"]))


def _use(run: RunFiles) -> Json:
    """The command lines and the Python that use this run."""
    folder = _short(run.folder)
    kind = str(run.manifest.get("kind"))
    thing = {"images": "images", "series": "series"}.get(kind, "table")
    example = "new.csv" if thing == "table" else "new.npz"
    path = shlex.quote(folder)
    return {
        "predict": f"lockstep predict {path} {example} --out predictions.csv",
        "evaluate": f"lockstep evaluate {path} {example}",
        "python": f"import lockstep\n\nrun = lockstep.load({folder!r})\nrun.predict({thing})"
        + ("" if run.manifest.get("task") in ("regression", "forecast") else f"\nrun.predict_proba({thing})"),
        "again": _again(run, path),
        "report": f"lockstep report {path}",
        "ready": run.manifest.get("status") == "finished" or bool(run.manifest.get("epochs_done")),
        "folder": folder,
        "example": example,
        "labels": []
        if run.manifest.get("task") == "regression"
        else [str(c) for c in run.manifest.get("classes") or []][:3],
    }


def _again(run: RunFiles, path: str) -> str:
    command = str(run.manifest.get("command") or "")
    source = run.manifest.get("data") or {}
    if not command:  # trained from Python, on data that may have no file
        return f"lockstep.fit(data, spec={f'{_short(run.folder)}/spec.toml'!r})"
    test = (
        f" --test {shlex.quote(str(source['test_origin']))}"
        if "--test " in command and source.get("test_origin")
        else ""
    )
    origin = shlex.quote(str(source.get("origin") or "DATA"))
    return f"lockstep fit {origin}{test} --spec {path}/spec.toml --out {path}-again"


def _short(folder: Path) -> str:
    """The folder from where the user stands, if it is below; else in full."""
    whole = folder.resolve()
    try:
        return os.fspath(whole.relative_to(Path.cwd())) or "."
    except ValueError:
        return os.fspath(whole)
