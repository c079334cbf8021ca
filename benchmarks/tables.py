"""How the default fit does on real tables beside scikit-learn's MLP and, where it is installed, LightGBM.

    python benchmarks/tables.py DATA [adult california_housing diamonds phoneme titanic insurance]

DATA is a folder with those tables as csv (or set LOCKSTEP_DATA). Adult is scored on its own test file, the others on
``train_test_split(test_size=0.2, random_state=0, stratify=y if classes else None)``: the split that ``lockstep fit``
itself draws for seed 0. Rivals get one-hot categories, filled gaps and, for the MLP, standardised numbers and target,
with early stopping; LightGBM its defaults. All run in turn in this process. Seconds are whole fits (reading, training,
measuring, report); they depend on the machine, so read their ratios.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import lockstep

TABLES = {
    "adult": ("adult/adult_train.csv", "class"),
    "california_housing": ("california_housing/housing.csv", "median_house_value"),
    "diamonds": ("diamonds/diamonds.csv", "price"),
    "phoneme": ("phoneme/phoneme.csv", "c5"),
    "titanic": ("titanic/titanic_seaborn.csv", "survived"),
    "insurance": ("insurance/insurance.csv", "charges"),
}


def load(root: Path, name: str) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Train rows, test rows and the target's name."""
    file, target = TABLES[name]
    header = None if name == "phoneme" else "infer"
    table = pd.read_csv(root / file, header=header)
    if header is None:
        table.columns = [f"c{i}" for i in range(table.shape[1])]
    if name == "titanic":
        table = table.drop(columns="alive")
    if name == "adult":
        test = pd.read_csv(root / "adult/adult_test.csv")
        return table, test.assign(**{target: test[target].str.rstrip(".")}), target
    classes = table[target].nunique() < 10
    train, test = train_test_split(table, test_size=0.2, random_state=0, stratify=table[target] if classes else None)
    return train, test, target


def rival(train: pd.DataFrame, target: str, kind: str):
    """A scikit-learn pipeline around the rival, at reasonable settings."""
    inputs = train.drop(columns=target)
    words = inputs.select_dtypes(exclude="number").columns
    numbers = inputs.columns.difference(words)
    encode = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), words),
    )
    classes = train[target].nunique() < 10
    if kind == "sklearn MLP":
        network = (MLPClassifier if classes else MLPRegressor)(early_stopping=True, random_state=0)
        network = network if classes else TransformedTargetRegressor(network, transformer=StandardScaler())
        return make_pipeline(encode, network)
    import lightgbm

    return make_pipeline(encode, (lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor)(verbose=-1))


def scores(truth: np.ndarray, labels: np.ndarray, second: np.ndarray | None) -> str:
    if second is None:
        return f"RMSE {root_mean_squared_error(truth, labels):9,.0f}       "
    return f"accuracy {accuracy_score(truth, labels):.4f} AUC {roc_auc_score(truth, second):.4f}"


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["LOCKSTEP_DATA"])
    rivals = ["sklearn MLP"]
    try:
        import lightgbm  # noqa: F401

        rivals.append("LightGBM")
    except ImportError:
        print("LightGBM is not installed: pip install lightgbm shows it too")
    for name in sys.argv[2:] or TABLES:
        train, test, target = load(root, name)
        truth, classes = test[target].to_numpy(), train[target].nunique() < 10
        for kind in rivals:
            began = time.perf_counter()
            model = rival(train, target, kind).fit(train.drop(columns=target), train[target])
            took = time.perf_counter() - began
            rows = test.drop(columns=target)
            second = model.predict_proba(rows)[:, 1] if classes else None
            print(f"{name:20} {kind:24} {scores(truth, model.predict(rows), second)}  {took:6.1f} s", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            run = lockstep.fit(train, target=target, test_size=0, out=Path(folder) / "run", quiet=True)
            took = time.perf_counter() - began
            second = run.predict_proba(test)[:, 1] if classes else None
            label = f"lockstep, {len(run.model.networks)} networks"
            print(f"{name:20} {label:24} {scores(truth, run.predict(test), second)}  {took:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
