"""Files, flags and keywords say the same."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lockstep.errors import SpecError
from lockstep.spec import (
    SGD,
    Adam,
    AdamW,
    Constant,
    CosineAnnealingLR,
    DataSpec,
    FitSpec,
    Loss,
    Mlp,
    Population,
    Preprocess,
    Training,
    Vary,
    parse_assignments,
    read_settings,
)


def numbers(low: float, high: float) -> st.SearchStrategy[Any]:
    one = st.floats(low, high, allow_nan=False)
    return one | st.lists(one, min_size=1, max_size=3).map(lambda values: Vary(*values))


rates, decays, betas = numbers(1e-9, 1e3), numbers(0, 10), numbers(0, 0.999)
counts = st.integers(1, 10**6)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda text: text != "none")
optimizers = st.one_of(
    st.builds(SGD, lr=rates, momentum=betas, dampening=decays, weight_decay=decays),
    st.builds(SGD, lr=rates, momentum=numbers(0.1, 0.99), nesterov=st.booleans()),
    st.builds(Adam, lr=rates, beta1=betas, beta2=betas, eps=rates, weight_decay=decays),
    st.builds(AdamW, lr=rates, beta1=betas, beta2=betas, eps=rates, weight_decay=decays),
)
specs = st.builds(
    FitSpec,
    optimizer=optimizers,
    schedule=st.builds(Constant) | st.builds(CosineAnnealingLR, T_max=st.none() | counts, eta_min=decays),
    loss=st.builds(
        Loss,
        name=st.sampled_from(["auto", "mse"]),
        label_smoothing=numbers(0, 0.9),
        class_weights=st.none() | st.just("balanced") | st.lists(st.floats(0.01, 99), min_size=1, max_size=4),
    ),
    training=st.builds(Training, epochs=counts, clip_norm=st.none() | rates, patience=st.none() | counts),
    population=st.builds(Population, members=st.none() | st.lists(counts, min_size=1).map(tuple)),
    data=st.builds(
        DataSpec,
        target=st.none() | words,
        task=st.sampled_from([None, "binary"]),
        missing=st.lists(words).map(tuple),
        drop=st.lists(words).map(tuple),
    ),
    preprocess=st.builds(Preprocess, numbers=st.sampled_from(["standard", "robust"]), bins=st.integers(2, 100)),
    model=st.builds(Mlp, hidden=st.lists(counts, max_size=4).map(tuple), dropout=numbers(0, 0.9)),
)


@given(spec=specs)
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_writing_a_spec_and_reading_it_again_changes_nothing(spec: FitSpec, tmp_path: Path) -> None:
    for ending, text in {".toml": spec.to_toml(), ".json": json.dumps(spec.model_dump(mode="json"))}.items():
        path = tmp_path / f"spec{ending}"
        path.write_text(text, encoding="utf-8")
        assert FitSpec.parse(read_settings(path)) == spec
        assert FitSpec().override(read_settings(path)) == spec


def test_none_is_written_as_a_word() -> None:
    text = FitSpec(training=Training(clip_norm=None)).to_toml()
    assert 'clip_norm = "none"' in text
    assert 'patience = "none"' in text


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (".toml", 'optimizer = {name = "sgd", lr = 1e-3}\nmodel.hidden = [8, 4]\ntraining.clip_norm = "none"\n'),
        (".yaml", "optimizer: {name: sgd, lr: 1e-3}\nmodel:\n  hidden: [8, 4]\ntraining:\n  clip_norm: null\n"),
        (".yml", "optimizer: {name: sgd, lr: 1.0e-3}\nmodel: {hidden: '8,4'}\ntraining: {clip_norm: none}\n"),
        (
            ".json",
            '{"optimizer": {"name": "sgd", "lr": 1e-3}, "model": {"hidden": [8, 4]}, "training": {"clip_norm": null}}',
        ),
    ],
)
def test_toml_yaml_and_json_say_the_same(ending: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / f"spec{ending}"
    path.write_text(text)
    expected = FitSpec(optimizer=SGD(lr=1e-3), model=Mlp(hidden=(8, 4)), training=Training(clip_norm=None))
    assert FitSpec().override(read_settings(path)) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.toml", b"[optimizer\nlr = 1", "cannot be read: "),
        ("cut.json", b'{"a": ', "cannot be read: Expecting value"),
        ("cut.yaml", b"a: [1, 2", "cannot be read: "),
        ("bytes.toml", b"\xff\xfe\x00", "cannot be read: 'utf-8' codec"),
        ("list.json", b"[1, 2]", "holds list"),
        ("empty.yaml", b"", "holds NoneType"),
        ("text.txt", b"lr = 1", "A spec file is .toml, .yaml or .json, however: .txt"),
        ("bare", b"lr = 1", "A spec file is .toml, .yaml or .json, however: no ending"),
    ],
)
def test_a_damaged_spec_file_is_named_with_the_reason(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        read_settings(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_spec_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"The spec file must exist, however there is none at .*none\.toml"):
        read_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-3", 3e-3), ("5", 5), ("true", True), ("False", False), ("None", None), ("none", None), ("null", None),
        ("256,256", [256, 256]), ("256,", [256]), ("[1, 2]", [1, 2]), ("adam", "adam"), ("a,2,none", ["a", 2, None]),
        ('"5"', "5"), ("a=b", "a=b"), ("", ""), ("-999,-1", [-999, -1]),
    ],
)  # fmt: skip
def test_the_value_of_an_assignment_is_json_or_a_list_or_the_text(text: str, value: object) -> None:
    assert parse_assignments([f"a.b={text}"]) == {"a": {"b": value}}


def test_assignments_nest_and_the_last_one_counts() -> None:
    found = parse_assignments(["optimizer.lr=1", "optimizer.name=adam", " model.hidden = 3,4 ", "optimizer.lr=2"])
    assert found == {"optimizer": {"lr": 2, "name": "adam"}, "model": {"hidden": [3, 4]}}


@pytest.mark.parametrize("assignment", ["lr", "=3", ".lr=3", "optimizer.=3", "optimizer..lr=3"])
def test_what_is_no_assignment_is_told_with_an_example(assignment: str) -> None:
    with pytest.raises(SpecError, match=r"A setting is key=value, however: .*optimizer\.lr=3e-3"):
        parse_assignments([assignment])


def test_a_part_of_what_was_set_as_a_whole_is_an_error() -> None:
    with pytest.raises(SpecError, match=r"optimizer\.lr is set twice"):
        parse_assignments(["optimizer=adam", "optimizer.lr=1"])


def test_naming_another_optimiser_starts_from_its_own_defaults() -> None:
    base = FitSpec(optimizer=AdamW(lr=0.5, beta1=0.5))
    assert base.override({"optimizer": {"name": "sgd"}}).optimizer == SGD()
    assert base.override({"optimizer": {"name": "adam", "eps": 1e-6}}).optimizer == Adam(eps=1e-6)


def test_naming_the_same_optimiser_keeps_what_was_set() -> None:
    base = FitSpec(optimizer=AdamW(lr=0.5, beta1=0.5))
    assert base.override({"optimizer": {"name": "adamw", "lr": 0.1}}).optimizer == AdamW(lr=0.1, beta1=0.5)
    assert base.override({"optimizer": {"betas": [0.8, 0.9]}}).optimizer == AdamW(lr=0.5, betas=(0.8, 0.9))


def test_naming_another_loss_keeps_its_other_settings() -> None:
    base = FitSpec(loss=Loss(label_smoothing=0.1))
    assert base.override({"loss": {"name": "mse"}}).loss == Loss(name="mse", label_smoothing=0.1)


def test_an_axis_lies_over_a_number_and_a_number_over_an_axis() -> None:
    varied = FitSpec().override({"optimizer": {"lr": [0.1, 0.2]}})
    assert varied.optimizer == AdamW(lr=Vary(0.1, 0.2))
    assert varied.override({"optimizer": {"lr": 0.3}}).optimizer == AdamW(lr=0.3)
    assert varied.override({"optimizer": {"lr": {"vary": [0.3, 0.4]}}}).optimizer == AdamW(lr=Vary(0.3, 0.4))
