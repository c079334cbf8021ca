"""Run folders as a training would leave them, from made-up numbers, and a headless browser to open reports in."""

import base64
import json
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

HOSTILE = "</script><img src=x onerror=alert(1)><!--\u2028{{ 7*7 }}"
Json = dict[str, Any]


def make_history(
    members: list[Json], epochs: int, *, metric: str, start: float, floor: float, up: bool
) -> pl.DataFrame:
    """Losses that fall towards ``floor``, with a validation loss that turns up a little late in the run."""
    rows = []
    for member in members:
        rng = np.random.default_rng(member["member"])
        spread, last = rng.normal(0, 0.015), member["epochs"]
        lr = member["choices"].get("optimizer.lr", 1e-3)
        for epoch in range(1, last + 1):
            t = epoch / epochs
            train = (
                floor + (start - floor) * np.exp(-9 * t * (lr / 1e-3) ** 0.3) + rng.normal(0, 0.004) - 0.08 * floor * t
            )
            valid = train * (1.03 + spread) + 0.12 * floor * t**2 + abs(rng.normal(0, 0.006))
            share = 0.5 + 0.37 * (1 - np.exp(-12 * t)) + spread / 3 + rng.normal(0, 0.002)
            row = {
                "member": member["member"],
                "candidate": member["candidate"],
                "fold": member["fold"],
                "seed": member["seed"],
                "epoch": epoch,
                "train_loss": train,
                "valid_loss": valid,
                "valid_metric": share if up else start * valid,
                "metric": metric,
                "lr": lr * 0.5 * (1 + np.cos(np.pi * epoch / epochs)),
                "grad_norm": 0.6 + 1.3 * np.exp(-4 * t) + rng.normal(0, 0.05),
                "seconds": 0.21,
                "partial": False,
            }
            for depth, layer in enumerate(("body.0.0", "body.0.1", "body.1.0", "body.1.1", "head")):
                for part in ("weight", "bias"):
                    row[f"grad_norm/{layer}.{part}"] = (0.1 + 0.2 * depth) * np.exp(-2 * t) * rng.uniform(0.8, 1.2)
            rows.append(row)
    return pl.DataFrame(rows)


def make_members(
    *, candidates: list[Json], folds: int, seeds: int, epochs: int, train_rows: int, patience: bool = True
) -> list[Json]:
    members: list[Json] = []
    for c, chosen in enumerate(candidates):
        for fold in range(folds):
            for seed in range(seeds):
                n = len(members)
                stopped = epochs - (7 * n) % 23 if patience and n % 5 else epochs
                members.append(
                    {
                        "member": n,
                        "candidate": c,
                        "fold": fold,
                        "seed": seed,
                        "choices": chosen,
                        "train_rows": train_rows - train_rows // folds,
                        "valid_rows": train_rows // folds,
                        "best_epoch": max(1, stopped - 16),
                        "epochs": stopped,
                        "ended": "patience" if stopped < epochs else "length",
                    }
                )
    return members


def base_manifest(**fields: Any) -> Json:
    return {
        "schema_version": 1,
        "lockstep": "0.1.0",
        "created": "2026-11-24 10:12:31",
        "status": "finished",
        "seed": 0,
        "versions": {
            "python": "3.11.2",
            "torch": "2.13.0+cpu",
            "numpy": "2.4.1",
            "polars": "2.1.0",
            "scikit-learn": "1.9.1",
        },
        "machine": {"cpu": "AMD EPYC 7B13", "cores": 2, "memory_gb": 7.8, "os": "Linux 6.1", "device": "cpu"},
        "plan": [
            {"choice": "device", "value": "cpu", "reason": "no CUDA or MPS device was found"},
            {"choice": "executor", "value": "eager", "reason": "the run is too short for compilation to pay"},
            {"choice": "precision", "value": "float32", "reason": "the CPU has no faster kernel for less"},
            {"choice": "members at a time", "value": "5 of 5", "reason": "the whole stack fits in 3 % of the memory"},
        ],
        "timing": {"read": 0.31, "train": 52.4, "evaluate": 3.9},
        "findings": [],
    } | fields


def finding(severity: str, code: str, subject: str, what: str, evidence: str, remedy: str) -> Json:
    return {
        "severity": severity,
        "code": code,
        "subject": subject,
        "what": what,
        "evidence": evidence,
        "remedy": remedy,
    }


def write_run(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if isinstance(content, pl.DataFrame):
            content.write_parquet(folder / name)
        elif isinstance(content, str):
            (folder / name).write_text(content)
        else:
            (folder / name).write_text(json.dumps(content))
    return folder


SPEC = """recipe = "mlp"

[optimizer]
name = "AdamW"
lr = 0.001
weight_decay = 0.01

[schedule]
name = "CosineAnnealingLR"

[training]
epochs = 100
batch_size = 256
clip_norm = 1.0
patience = 16
"""


def table_run(folder: Path) -> Path:
    """Binary, a table, 5 folds: adult as it might come out."""
    members = make_members(candidates=[{}], folds=5, seeds=1, epochs=100, train_rows=26_049)
    rng = np.random.default_rng(0)
    classes = ["<=50K", ">50K"]

    def estimate(value: float, half: float) -> Json:
        return {"value": value, "low": value - half, "high": value + half}

    scored = [
        {
            **{k: m[k] for k in ("member", "candidate", "fold", "seed", "choices")},
            "test": {"accuracy": 0.8562 + rng.normal(0, 0.0015), "auc": 0.9125 + rng.normal(0, 0.001)},
            "out_of_fold": {"accuracy": 0.858 + rng.normal(0, 0.003), "auc": 0.914 + rng.normal(0, 0.002)},
        }
        for m in members
    ]
    names = [
        "age",
        "workclass",
        "fnlwgt",
        "education",
        "education_num",
        "marital_status",
        "occupation",
        "relationship",
        "race",
        "sex",
        "capital_gain",
        "capital_loss",
        "hours_per_week",
        "native_country",
    ]
    numbers = {
        "age": (17, 90, 38.58, 13.64),
        "fnlwgt": (12285, 1484705, 189778.4, 105550.0),
        "education_num": (1, 16, 10.08, 2.57),
        "capital_gain": (0, 99999, 1077.6, 7385.3),
        "capital_loss": (0, 4356, 87.3, 402.96),
        "hours_per_week": (1, 99, 40.44, 12.35),
    }
    columns: list[Json] = []
    for name in names:
        if name in numbers:
            low, high, mean, std = numbers[name]
            columns.append(
                {
                    "name": name,
                    "kind": "number",
                    "used": True,
                    "why": "",
                    "missing": 0,
                    "distinct": 73,
                    "low": low,
                    "high": high,
                    "mean": mean,
                    "std": std,
                }
            )
        else:
            columns.append(
                {
                    "name": name,
                    "kind": "category",
                    "used": True,
                    "why": "text with few distinct values",
                    "categories": [
                        "Private",
                        "Self-emp-not-inc",
                        "Local-gov",
                        "State-gov",
                        "Self-emp-inc",
                        "Federal-gov",
                    ],
                    "missing": 1836 if name in ("workclass", "occupation") else 0,
                    "distinct": 6,
                }
            )
    columns.append(
        {
            "name": "row_id",
            "kind": "identifier",
            "used": False,
            "why": "every value is different: it names the row",
            "missing": 0,
            "distinct": 32561,
            "examples": ["a-0001", "a-0002", "a-0003"],
        }
    )
    worth = sorted(zip(names, rng.gamma(0.5, 0.012, len(names)), strict=True), key=lambda f: -f[1])
    return write_run(
        folder,
        {
            "manifest.json": base_manifest(
                command="lockstep fit adult_train.csv --target class --folds 5",
                epochs_done=100,
                epochs=100,
                task="binary",
                kind="table",
                target="class",
                classes=classes,
                data={
                    "origin": "/home/ada/adult_train.csv",
                    "rows": 32561,
                    "fingerprint": "sha256:9f2c61d0a4e8",
                    "test_origin": None,
                },
                splits={
                    "how": "stratified by class: a fifth set aside as test rows, 5 folds on the rest",
                    "train_rows": 26049,
                    "test_rows": 6512,
                },
                population={"candidates": 1, "folds": 5, "seeds": 1, "parameters": 94_337, "members": members},
                findings=[
                    finding(
                        "info",
                        "duplicate-rows",
                        "",
                        "24 rows stand in the file more than once.",
                        "24 of 32,561 rows.",
                        "They were kept on one side of the split; nothing to do.",
                    ),
                    finding(
                        "severe",
                        "target-leak",
                        "income_band",
                        "The column income_band gives the target away exactly, so it was set aside.",
                        "Each of its 2 values goes with one class in all 32,561 rows.",
                        "If it is known when you predict, keep it with --set data.keep=income_band.",
                    ),
                    finding(
                        "warning",
                        "identifier",
                        "row_id",
                        "The column row_id names rows and was set aside.",
                        "32,561 distinct values in 32,561 rows.",
                        "If it means something, use --set data.category=row_id.",
                    ),
                ],
            ),
            "schema.json": {
                "kind": "table",
                "task": "binary",
                "target": "class",
                "classes": classes,
                "columns": columns,
                "missing": ["", "NA", "?"],
                "rows": 32561,
                "image_shape": None,
            },
            "history.parquet": make_history(members, 100, metric="accuracy", start=0.62, floor=0.3, up=True),
            "spec.toml": SPEC,
            "metrics.json": {
                "metrics": {
                    "accuracy": estimate(0.8581, 0.0083),
                    "auc": estimate(0.9137, 0.0066),
                    "balanced_accuracy": estimate(0.7721, 0.0125),
                    "f1": estimate(0.6634, 0.0192),
                    "log_loss": estimate(0.3062, 0.0129),
                    "brier": estimate(0.0979, 0.0047),
                },
                "rows": "test",
                "n_rows": 6512,
                "interval": "95 % bootstrap over rows, 1,000 resamples",
                "headline": "accuracy",
                "members": scored,
                "out_of_fold": {"accuracy": {"mean": 0.8583, "std": 0.0031}, "auc": {"mean": 0.9141, "std": 0.0022}},
                "baseline": {
                    "what": "always the most frequent class, <=50K",
                    "metrics": {"accuracy": 0.7592, "balanced_accuracy": 0.5, "log_loss": 0.5521},
                },
            },
            "analysis.json": {
                "rows": "test",
                "confusion": {"classes": classes, "counts": [[4630, 314], [610, 958]]},
                "calibration": {
                    "bins": [
                        {
                            "predicted": (i + 0.5) / 10,
                            "observed": min(1, max(0, (i + 0.5) / 10 + d)),
                            "low": max(0, (i + 0.5) / 10 + d - 0.035),
                            "high": min(1, (i + 0.5) / 10 + d + 0.035),
                            "count": c,
                        }
                        for i, (d, c) in enumerate(
                            zip(
                                [-0.02, 0.0, 0.01, 0.03, -0.01, 0.02, 0.05, -0.02, -0.01, 0.0],
                                [3400, 620, 410, 330, 290, 270, 260, 250, 280, 402],
                                strict=True,
                            )
                        )
                    ],
                    "error": 0.0142,
                },
                "residuals": None,
                "importance": {
                    "metric": "auc",
                    "rows": 6512,
                    "repeats": 5,
                    "features": [{"name": n, "mean": w, "low": w - 0.0012, "high": w + 0.0012} for n, w in worth],
                },
                "mistakes": {
                    "kind": "rows",
                    "items": [
                        {
                            "row": int(r),
                            "actual": classes[i % 2],
                            "predicted": classes[1 - i % 2],
                            "confidence": 0.995 - 0.004 * i,
                            "values": {n: str(rng.integers(17, 90)) if n in numbers else "Private" for n in names},
                        }
                        for i, r in enumerate(rng.integers(0, 32561, 20))
                    ],
                },
            },
        },
    )


def png(pixels: np.ndarray) -> str:
    """A grey picture [H, W] of bytes as a data URI."""
    h, w = pixels.shape
    raw = b"".join(b"\x00" + row.tobytes() for row in pixels.astype(np.uint8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    body = (
        chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def images_run(folder: Path) -> Path:
    """Ten classes, pictures, one network of 10 epochs, its own test file: MNIST as it might come out."""
    rng = np.random.default_rng(1)
    classes = [str(c) for c in range(10)]
    members = make_members(candidates=[{}], folds=1, seeds=1, epochs=10, train_rows=60_000, patience=False)
    members[0] |= {"train_rows": 48_000, "valid_rows": 12_000, "best_epoch": 10}
    counts = np.full((10, 10), 0)
    for i in range(10):
        for j in rng.integers(0, 10, 22):
            counts[i, j] += 1
        counts[i, i] = 960 + 7 * i
    counts[4, 9] = 14
    grid = np.mgrid[0:28, 0:28]
    pictures = [
        png(255 * np.exp(-((np.hypot(grid[0] - 14, (grid[1] - 14) * s) - r) ** 2) / 6))
        for s, r in zip(rng.uniform(0.8, 1.8, 20), rng.uniform(4, 10, 20), strict=True)
    ]
    return write_run(
        folder,
        {
            "manifest.json": base_manifest(
                command="lockstep fit data/mnist --epochs 10 --folds 1 --set model.hidden=256,256",
                epochs_done=10,
                epochs=10,
                task="multiclass",
                kind="images",
                target=None,
                classes=classes,
                data={
                    "origin": "data/mnist",
                    "rows": 60000,
                    "fingerprint": "sha256:51aa20bd",
                    "test_origin": "t10k-images-idx3-ubyte.gz",
                },
                splits={
                    "how": "the data's own test file; a stratified fifth of the rest to validate on",
                    "train_rows": 60000,
                    "test_rows": 10000,
                },
                population={"candidates": 1, "folds": 1, "seeds": 1, "parameters": 269_322, "members": members},
            ),
            "schema.json": {
                "kind": "images",
                "task": "multiclass",
                "target": None,
                "classes": classes,
                "columns": [],
                "missing": [],
                "rows": 60000,
                "image_shape": [28, 28],
            },
            "history.parquet": make_history(members, 10, metric="accuracy", start=0.9, floor=0.08, up=True),
            "spec.toml": SPEC,
            "metrics.json": {
                "metrics": {
                    "accuracy": {"value": 0.9812, "low": 0.9785, "high": 0.9839},
                    "log_loss": {"value": 0.0633, "low": 0.055, "high": 0.0712},
                },
                "rows": "test",
                "n_rows": 10000,
                "interval": "95 % bootstrap over rows, 1,000 resamples",
                "headline": "accuracy",
                "members": [
                    {
                        "member": 0,
                        "candidate": 0,
                        "fold": 0,
                        "seed": 0,
                        "choices": {},
                        "test": {"accuracy": 0.9812},
                        "out_of_fold": {"accuracy": 0.9797},
                    }
                ],
                "out_of_fold": {"accuracy": {"mean": 0.9797, "std": None}},
                "baseline": {"what": "always the most frequent class, 1", "metrics": {"accuracy": 0.1135}},
            },
            "analysis.json": {
                "rows": "test",
                "confusion": {"classes": classes, "counts": counts.tolist()},
                "calibration": {
                    "bins": [
                        {
                            "predicted": p,
                            "observed": min(1, p + 0.01),
                            "low": p - 0.05,
                            "high": min(1, p + 0.04),
                            "count": int(c),
                        }
                        for p, c in [(0.45, 40), (0.55, 66), (0.65, 80), (0.75, 110), (0.85, 170), (0.97, 9534)]
                    ],
                    "error": 0.006,
                },
                "residuals": None,
                "importance": None,
                "mistakes": {
                    "kind": "images",
                    "items": [
                        {
                            "row": int(rng.integers(0, 10000)),
                            "actual": classes[i % 10],
                            "predicted": classes[(i + 3) % 10],
                            "confidence": 0.99999 - 0.003 * i,
                            "values": {},
                            "image": picture,
                        }
                        for i, picture in enumerate(pictures)
                    ],
                },
            },
        },
    )


def compare_run(folder: Path, *, candidates: int = 4) -> Path:
    """Regression, a comparison of learning rates, no test rows."""
    rng = np.random.default_rng(2)
    chosen: list[Json] = [{"optimizer.lr": 1e-4 * 3**i, "model.hidden": [256, 256]} for i in range(candidates)]
    members = make_members(candidates=chosen, folds=4, seeds=2, epochs=60, train_rows=20_640)
    actual = np.minimum(rng.lognormal(12.1, 0.5, 2000), 500_001)
    predicted = actual * rng.lognormal(-0.02, 0.2, 2000)
    scored = [
        {
            **{k: m[k] for k in ("member", "candidate", "fold", "seed", "choices")},
            "test": None,
            "out_of_fold": {"rmse": 52_000 + 900 * abs(m["candidate"] - 2) + rng.normal(0, 500), "r2": 0.79},
        }
        for m in members
    ]
    columns = [
        {
            "name": n,
            "kind": "number",
            "used": True,
            "low": 0.5,
            "high": 39320,
            "mean": 2635.76,
            "std": 2181.6,
            "missing": 207 if n == "total_bedrooms" else 0,
            "distinct": 1923,
        }
        for n in ("longitude", "latitude", "total_rooms", "total_bedrooms", "median_income")
    ]
    return write_run(
        folder,
        {
            "manifest.json": base_manifest(
                command="lockstep compare housing.csv --target median_house_value --vary optimizer.lr=1e-4,3e-4",
                epochs_done=60,
                epochs=60,
                task="regression",
                kind="table",
                target="median_house_value",
                classes=[],
                data={"origin": "housing.csv", "rows": 20640, "fingerprint": "sha256:77d1", "test_origin": None},
                splits={"how": "4 folds, no test rows", "train_rows": 20640, "test_rows": 0},
                population={"candidates": candidates, "folds": 4, "seeds": 2, "parameters": 70_145, "members": members},
            ),
            "schema.json": {
                "kind": "table",
                "task": "regression",
                "target": "median_house_value",
                "classes": [],
                "columns": columns,
                "rows": 20640,
                "missing": [],
            },
            "history.parquet": make_history(members, 60, metric="rmse", start=1.0, floor=0.19, up=False),
            "spec.toml": SPEC,
            "metrics.json": {
                "metrics": {
                    "rmse": {"value": 51_874.3, "low": 50_702.0, "high": 53_104.9},
                    "mae": {"value": 34_122.0, "low": 33_610.0, "high": 34_640.0},
                    "r2": {"value": 0.7971, "low": 0.788, "high": 0.806},
                },
                "rows": "out-of-fold",
                "n_rows": 20640,
                "interval": "95 % bootstrap over rows, 1,000 resamples",
                "headline": "rmse",
                "members": scored,
                "out_of_fold": {"rmse": {"mean": 53_011.0, "std": 640.0}},
                "baseline": {"what": "always the mean", "metrics": {"rmse": 115_396.0, "r2": 0.0}},
            },
            "analysis.json": {
                "rows": "out-of-fold",
                "confusion": None,
                "calibration": None,
                "residuals": {
                    "points": [
                        {"actual": float(a), "predicted": float(p)} for a, p in zip(actual, predicted, strict=True)
                    ]
                },
                "importance": {
                    "metric": "rmse",
                    "rows": 2000,
                    "repeats": 5,
                    "features": [
                        {
                            "name": c["name"],
                            "mean": 30_000 / (i + 1) ** 2 - 1300,
                            "low": 30_000 / (i + 1) ** 2 - 2100,
                            "high": 30_000 / (i + 1) ** 2 - 500,
                        }
                        for i, c in enumerate(columns)
                    ],
                },
                "mistakes": {
                    "kind": "rows",
                    "items": [
                        {
                            "row": i * 97,
                            "actual": float(actual[i]),
                            "predicted": float(predicted[i]),
                            "error": float(predicted[i] - actual[i]),
                            "values": {c["name"]: "12.5" for c in columns},
                        }
                        for i in range(12)
                    ],
                },
            },
        },
    )


def hostile_run(folder: Path) -> Path:
    """The table run with a name in every place that would break a careless page."""
    table_run(folder)
    for name in ("manifest.json", "schema.json", "metrics.json", "analysis.json"):
        text = (folder / name).read_text()
        for victim in ("adult_train.csv", ">50K", '"age"', '"Private"', "row_id", "AMD EPYC 7B13"):
            clean = victim.strip('"')
            escaped = json.dumps(f"{HOSTILE}{clean}")[1:-1]
            text = text.replace(json.dumps(clean)[1:-1], escaped)
        (folder / name).write_text(text)
    history = pl.read_parquet(folder / "history.parquet")
    history.rename({"grad_norm/head.weight": f"grad_norm/{HOSTILE}.weight"}).write_parquet(folder / "history.parquet")
    return folder


def unfinished_run(folder: Path) -> Path:
    """A run of 5 folds, 23 epochs in: no scores, no best epochs, one network gone wrong."""
    table_run(folder)
    for name in ("metrics.json", "analysis.json"):
        (folder / name).unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"status": "training", "epochs_done": 23, "timing": {"read": 0.3}}
    for member in manifest["population"]["members"]:
        member |= {"best_epoch": None, "epochs": None, "ended": None}
    manifest["population"]["members"][2]["ended"] = "the loss became NaN"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    history = pl.read_parquet(folder / "history.parquet").filter(pl.col("epoch") <= 23)
    wrong = (pl.col("member") == 2) & (pl.col("epoch") > 8)
    history.with_columns(
        pl.when(wrong).then(float("nan")).otherwise(pl.col(c)).alias(c)
        for c in ("train_loss", "valid_loss", "valid_metric")
    ).write_parquet(folder / "history.parquet")
    return folder


def bare_run(folder: Path) -> Path:
    """Killed before its first epoch: nothing but a manifest."""
    manifest = base_manifest(
        status="training", task="regression", kind="table", target="y", data={"origin": "y.csv", "rows": 12}
    )
    return write_run(folder, {"manifest.json": manifest})


RUNS: dict[str, Callable[[Path], Path]] = {
    "table": table_run,
    "images": images_run,
    "compare": compare_run,
    "hostile": hostile_run,
    "unfinished": unfinished_run,
    "bare": bare_run,
}


@pytest.fixture(params=list(RUNS))
def any_run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run of every kind, one after the other."""
    return RUNS[request.param](tmp_path / request.param)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: RUNS[kind](tmp_path / kind)


@dataclass(frozen=True)
class Opened:
    """What a browser made of a page: its document after all scripts, and every line on its console."""

    dom: str
    console: tuple[str, ...]


def chromium() -> str | None:
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))),
        None,
    )


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., Opened]:
    """Open a page in headless Chromium; skips where there is none."""
    binary = chromium()
    if binary is None:
        pytest.skip("no Chromium on this machine")

    def open_page(page: Path, *flags: str) -> Opened:
        command = [
            binary,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--v=0",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--disable-background-networking",
            "--virtual-time-budget=20000",
            "--dump-dom",
            *flags,
            page.resolve().as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return Opened(done.stdout, tuple(line for line in done.stderr.splitlines() if "CONSOLE" in line))

    return open_page
