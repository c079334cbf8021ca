"""``lockstep.train``: any module, a population of it."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lockstep
from lockstep import SGD, AdamW, Constant
from lockstep.errors import DataError, SpecError, TrainingError
from lockstep.spec import Loss

Rng = np.random.Generator


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))


def rows(rng: Rng, count: int = 60) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(rng.normal(size=(count, 4)).astype(np.float32))
    return x, x[:, :3].argmax(1)


def train(data: Any, valid: Any = None, make: Any = make, **settings: Any) -> lockstep.Result:
    settings = {"epochs": 2, "batch_size": 16, "quiet": True, "device": "cpu"} | settings
    return lockstep.train(make, data, valid, **settings)


def weights(result: lockstep.Result, index: int = 0) -> Tensor:
    return nn.utils.parameters_to_vector(result.member(index).parameters()).detach()


class Rows(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]


def test_tensors_arrays_datasets_and_loaders_of_the_same_rows_train_the_same_network(rng: Rng) -> None:
    x, y = rows(rng)
    forms = [
        (x, y), (x.numpy(), y.numpy()), [x.double().numpy(), y.numpy().astype(np.uint8)], TensorDataset(x, y),
        Rows(x, y), DataLoader(Rows(x, y), batch_size=7), DataLoader(TensorDataset(x, y), shuffle=True),
    ]  # fmt: skip
    expected = weights(train(forms[0]))
    for form in forms[1:]:
        assert torch.equal(weights(train(form)), expected)


def test_the_batch_size_is_the_loaders_unless_given(rng: Rng) -> None:
    loader = DataLoader(TensorDataset(*rows(rng)), batch_size=20)
    assert torch.equal(weights(train(loader, batch_size=None)), weights(train(loader.dataset, batch_size=20)))
    assert not torch.equal(weights(train(loader, batch_size=10)), weights(train(loader, batch_size=20)))


def test_several_inputs_come_as_a_tuple(rng: Rng) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.layer = nn.Embedding(5, 2), nn.Linear(6, 3)

        def forward(self, codes: Tensor, x: Tensor) -> Tensor:
            return self.layer(torch.cat([self.table(codes), x], dim=1))

    x, y = rows(rng)
    codes = torch.from_numpy(rng.integers(0, 5, 60))
    result = train(((codes, x), y), ((codes, x), y), make=Two, seeds=2)
    predicted = result.predict((codes, x))
    assert predicted.shape == (2, 60, 3)
    with torch.no_grad():
        np.testing.assert_allclose(predicted[1], result.member(1)(codes, x), atol=1e-5)


def test_a_function_can_be_the_loss(rng: Rng) -> None:
    data = rows(rng)
    own = train(data, data, loss=lambda output, target: F.cross_entropy(output, target))
    named = train(data, data, loss="cross_entropy")
    np.testing.assert_allclose(weights(own), weights(named), atol=1e-6)
    assert own.history["valid_metric"].is_nan().all()
    assert named.history["valid_metric"].is_between(0, 1).all()


def test_a_loss_with_its_numbers_is_torchs_with_them(rng: Rng) -> None:
    data = rows(rng)
    ours = train(data, loss=Loss(name="cross_entropy", label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5)))
    w = torch.tensor([1.0, 2.0, 0.5])
    torchs = train(data, loss=lambda output, target: F.cross_entropy(output, target, w, label_smoothing=0.1))
    np.testing.assert_allclose(weights(ours), weights(torchs), atol=1e-5)


@pytest.mark.parametrize(("loss", "outputs"), [("mse", 1), ("mae", 1), ("binary_cross_entropy", 1)])
def test_every_loss_can_be_named(rng: Rng, loss: str, outputs: int) -> None:
    x, _ = rows(rng)
    y = (x[:, 0] > 0).long() if loss == "binary_cross_entropy" else x.sum(1)
    result = train((x, y), (x, y), make=lambda: nn.Linear(4, outputs), loss=loss, epochs=20, optimizer=AdamW(lr=0.05))
    history = result.history.sort("epoch")
    assert history["valid_loss"][-1] < 0.8 * history["valid_loss"][0]


def test_optimisers_and_schedules_go_by_name_too_and_lists_of_epochs_are_axes(rng: Rng) -> None:
    data = rows(rng)
    named = train(data, optimizer="momentum", schedule="step", epochs=6)
    own = train(data, optimizer=SGD(momentum=0.9), schedule=lockstep.StepLR(step_size=2, gamma=0.1), epochs=6)
    assert named.members[0].spec == own.members[0].spec
    assert torch.equal(weights(named), weights(own))
    several = train(
        data, data, optimizer=lockstep.Vary("sgd", AdamW()), epochs=[1, 2], batch_size=(8, 20), patience=[1]
    )
    training = [(m.choices["optimizer"], m.spec.training.epochs, m.spec.training.batch_size) for m in several.members]
    assert training == [(name, epochs, size) for name in ("sgd", "adamw") for epochs in (1, 2) for size in (8, 20)]


def test_frames_are_data_too(rng: Rng) -> None:
    x, y = rows(rng)
    expected = weights(train((x, y)))
    for module in (pd, pl):
        frames = (module.DataFrame(x.numpy()), module.Series(y.numpy()))
        assert torch.equal(weights(train(frames)), expected)


def test_without_validation_rows_the_leaderboard_is_by_train_loss_and_says_so(rng: Rng) -> None:
    result = train(rows(rng), optimizer=AdamW(lr=[1e-4, 1e-1]), epochs=4)
    board = result.leaderboard
    assert not {"valid_loss", "valid_metric"} & set(board.columns)
    last = dict(result.history.filter(epoch=4).select("member", "train_loss").iter_rows())
    assert board.select("member", "train_loss").rows() == sorted(last.items(), key=lambda row: row[1])
    assert repr(result).startswith("Result of 2 members, by train loss: there were no validation rows\n")


def test_rows_of_another_shape_for_validation_are_told_with_both_shapes(rng: Rng) -> None:
    x, y = rows(rng)
    with pytest.raises(DataError) as caught:
        train((x, y), (x[:, :3], y))
    assert str(caught.value) == (
        "A row of valid must have the shape of one of data, [4] in x and [] in y, however: [3] in x and [] in y."
    )


def test_whole_numbers_for_a_layer_are_told_to_be_made_floats(rng: Rng) -> None:
    x, y = rows(rng)
    with pytest.raises(TrainingError, match=r"else give x\.float\(\)\.$"):
        train(((10 * x).long(), y))


def test_folds_seeds_and_a_list_of_rates_make_the_population(rng: Rng) -> None:
    result = train(rows(rng), folds=3, seeds=2, seed=7, optimizer=SGD(lr=[0.1, 0.01], momentum=0.9))
    found = [(m.index, m.choices["optimizer.lr"], m.fold, m.seed) for m in result.members]
    expected = [(lr, fold, seed) for lr in (0.1, 0.01) for fold in range(3) for seed in (7, 8)]
    assert found == [(index, *rest) for index, rest in enumerate(expected)]
    for member in result.members:
        assert sorted([*member.train_rows, *member.valid_rows]) == list(range(60))
        assert len(member.valid_rows) == 20
    assert len(result.history) == 12 * 2
    assert {"member", "epoch", "train_loss", "valid_loss", "valid_metric", "lr"} <= set(result.history.columns)


def test_members_of_a_population_can_be_trained_alone(rng: Rng) -> None:
    data = rows(rng)
    everybody = train(data, folds=2, seeds=2, optimizer=AdamW(lr=[1e-2, 1e-3]))
    some = train(data, folds=2, seeds=2, optimizer=AdamW(lr=[1e-2, 1e-3]), members=[6, 1])
    assert [member.index for member in some.members] == [6, 1]
    for index in (6, 1):
        np.testing.assert_allclose(weights(some, index), weights(everybody, index), rtol=1e-4, atol=1e-6)
    assert some.predict(data[0]).shape == (2, 60, 3)
    np.testing.assert_allclose(some.predict(data[0])[0], everybody.predict(data[0])[6], atol=1e-4)
    with pytest.raises(SpecError, match="however: 5"):
        some.member(5)


def test_each_module_is_made_under_its_members_seed(rng: Rng) -> None:
    result = train(rows(rng), seeds=2, seed=3, epochs=1, optimizer=SGD(lr=1e-30), schedule=Constant())
    for index, seed in enumerate((3, 4)):
        torch.manual_seed(seed)
        assert torch.equal(weights(result, index), nn.utils.parameters_to_vector(make().parameters()))


def test_a_member_is_the_users_own_plain_module_in_eval_mode(rng: Rng) -> None:
    module = train(rows(rng)).member(0)
    assert [type(layer) for layer in module] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]  # type: ignore[attr-defined]
    assert not module.training
    assert all(p.requires_grad and p.device.type == "cpu" for p in module.parameters())


def test_the_leaderboard_is_sorted_by_the_loss_of_each_members_best_epoch(rng: Rng) -> None:
    data = rows(rng)
    result = train(data, data, epochs=5, optimizer=AdamW(lr=[1e-1, 1e-2, 1e-4]))
    board = result.leaderboard
    assert board["valid_loss"].to_list() == sorted(result.history.group_by("member").min()["valid_loss"])
    assert set(board["optimizer.lr"]) == {0.1, 0.01, 0.0001}
    assert board["ended"].to_list() == ["finished"] * 3
    for member, loss in zip(board["member"], board["valid_loss"], strict=True):
        with torch.no_grad():
            own = F.cross_entropy(result.member(member)(data[0]), data[1])
        np.testing.assert_allclose(own, loss, rtol=1e-4)
    assert "Result of 3 members" in repr(result)


def test_patience_stops_a_member_that_gets_no_better(rng: Rng) -> None:
    data = rows(rng)
    result = train(data, data, epochs=30, patience=3, optimizer=SGD(lr=[1e-30, 0.1]), schedule=Constant())
    ends = {member.index: done for member, done in zip(result.members, result.trained.finished, strict=True)}
    assert (ends[0].ended, ends[0].epochs, ends[0].best_epoch) == ("stopped early", 4, 1)
    assert ends[1].epochs > 4


def test_training_with_a_progress_display_changes_nothing(rng: Rng, capsys: pytest.CaptureFixture[str]) -> None:
    data = rows(rng)
    shown = train(data, data, quiet=False)
    assert capsys.readouterr().err
    assert torch.equal(weights(shown), weights(train(data, data)))


def sized(width: int, activation: type[nn.Module] = nn.ReLU, *, dropout: float = 0.1) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), activation(), nn.Dropout(dropout), nn.Linear(width, 3))


def test_anything_the_function_takes_can_vary_and_varies_slowest(rng: Rng) -> None:
    axes = {"width": lockstep.Vary(5, 7), "activation": lockstep.Vary(nn.ReLU, nn.Tanh), "dropout": 0.2}
    result = train(rows(rng), make=sized, module=axes, optimizer=AdamW(lr=[1e-2, 1e-3]), seeds=2)
    found = [tuple(member.choices.values()) for member in result.members[::2]]
    paths = ("module.width", "module.activation", "optimizer.lr")
    assert [tuple(member.choices) for member in result.members] == [paths] * 16
    assert found == [(width, act, lr) for width in (5, 7) for act in (nn.ReLU, nn.Tanh) for lr in (1e-2, 1e-3)]
    for member in result.members:
        module = result.member(member.index)
        assert isinstance(module, nn.Sequential)
        assert module[0].out_features == member.choices["module.width"]
        assert type(module[1]) is member.choices["module.activation"]
        assert module[2].p == 0.2
    assert [len(stack.originals) for stack in result.trained.stacks] == [4] * 4
    assert result.findings == ()
    for frame in (result.history, result.leaderboard):
        assert set(frame["module.width"]) == {5, 7}
        assert set(frame["module.activation"]) == {"ReLU", "Tanh"}
        assert set(frame["optimizer.lr"]) == {1e-2, 1e-3}
    assert result.predict(rows(rng)[0]).shape == (16, 60, 3)


def test_a_member_of_varied_modules_is_what_it_is_alone(rng: Rng) -> None:
    data, settings = rows(rng), {"make": sized, "module": {"width": lockstep.Vary(5, 7), "dropout": 0.3}, "seeds": 2}
    everybody, alone = train(data, **settings), train(data, **settings, members=[3])
    torch.testing.assert_close(weights(alone, 3), weights(everybody, 3), rtol=1e-4, atol=1e-6)


def test_dropout_rates_that_vary_share_a_stack_and_a_list_is_a_value(rng: Rng) -> None:
    def deep(widths: list[int], dropout: float) -> nn.Module:
        sizes = [4, *widths]
        layers = [nn.Linear(a, b) for a, b in zip(sizes, widths, strict=False)]
        return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(sizes[-1], 3))

    result = train(rows(rng), make=deep, module={"widths": [6, 5], "dropout": lockstep.Vary(0.0, 0.5)})
    assert [len(stack.originals) for stack in result.trained.stacks] == [2]
    assert [member.choices for member in result.members] == [{"module.dropout": 0.0}, {"module.dropout": 0.5}]


def test_all_of_training_can_vary(rng: Rng) -> None:
    x, y = rows(rng)
    result = train(
        (x, y), (x, y), make=sized, module={"width": 5},
        optimizer=lockstep.Vary(SGD(lr=0.1, momentum=0.9), AdamW(lr=[1e-2, 1e-3])),
        schedule=lockstep.Vary(Constant(), lockstep.CosineAnnealingLR()), batch_size=lockstep.Vary(8, 20),
        epochs=lockstep.Vary(1, 3), clip_norm=lockstep.Vary(None, 1.0),
        loss=lockstep.Vary("cross_entropy", Loss(name="cross_entropy", label_smoothing=0.1)),
    )  # fmt: skip
    assert len(result.members) == 2 * (1 + 2) * 2 * 2 * 2 * 2
    assert {member.spec.training.epochs for member in result.members} == {1, 3}
    ran = dict(result.history.group_by("member").len().iter_rows())
    assert all(ran[member.index] == member.spec.training.epochs for member in result.members)
    board = result.leaderboard
    assert board["optimizer.lr"].null_count() == 32  # SGD came with one rate
    assert set(board["training.batch_size"]) == {8, 20}


def test_the_gradients_of_a_member_are_autograds(rng: Rng) -> None:
    x, y = rows(rng)
    result = train(
        (x, y), make=sized, module={"width": 5}, loss=Loss(name="cross_entropy", label_smoothing=0.1), seeds=2
    )
    found = result.gradients(1, x[:9], y[:9])
    module = result.member(1)
    F.cross_entropy(module(x[:9]), y[:9], label_smoothing=0.1).backward()
    assert list(found) == [name for name, _ in module.named_parameters()]
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-5, atol=1e-7)
    dropped = result.gradients(1, x[:9], y[:9], training=True)
    assert not torch.equal(dropped["0.weight"], found["0.weight"])
    assert torch.equal(dropped["0.weight"], result.gradients(1, x[:9], y[:9], training=True)["0.weight"])


def test_the_gradients_of_a_loss_of_ones_own_are_of_that_loss(rng: Rng) -> None:
    x, _ = rows(rng)
    result = train((x, x.sum(1)), make=lambda: nn.Linear(4, 1), loss=lambda output, y: (output[:, 0] - y).pow(4).mean())
    module = result.member(0)
    (module(x)[:, 0] - x.sum(1)).pow(4).mean().backward()
    torch.testing.assert_close(result.gradients(0, x, x.sum(1))["weight"], module.weight.grad)


def test_the_history_has_the_norm_of_each_layers_gradient(rng: Rng) -> None:
    history = train(rows(rng), epochs=3).history
    layers = [f"grad_norm/{name}" for name, _ in make().named_parameters()]
    assert history.columns[-len(layers) :] == layers
    whole = history.select(layers).to_numpy()
    assert (whole > 0).all()
    # a mean of norms over steps: at least the norm of the means
    assert (np.linalg.norm(whole, axis=1) <= history["grad_norm"].to_numpy() * (1 + 1e-6)).all()


def test_targets_may_have_several_outputs(rng: Rng) -> None:
    x, _ = rows(rng)
    numbers = train((x, x[:, :2]), (x, x[:, :2]), make=lambda: nn.Linear(4, 2), loss="mse", epochs=20, schedule=None)
    assert numbers.history["valid_loss"][-1] < numbers.history["valid_loss"][0]
    assert numbers.predict(x).shape == (1, 60, 2)
    codes = (x[:, :2] > 0).long()  # [B, 2], from logits [B, 3, 2]

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (3, 2)))

    several = train((x, codes), (x, codes), make=make, epochs=20, optimizer=AdamW(lr=0.1))
    assert several.history["valid_metric"][-1] > several.history["valid_metric"][0] - 0.1
    assert several.predict(x).shape == (1, 60, 3, 2)


def test_networks_of_one_candidate_that_differ_are_several_stacks_and_it_is_said_what_differs(rng: Rng) -> None:
    class Fourier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frequencies, self.head = torch.randn(4, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.sin(x @ self.frequencies))

    result = train(rows(rng), make=Fourier, seeds=3)
    assert len(result.trained.stacks) == 3
    (finding,) = result.findings
    assert (finding.code, finding.severity) == ("several-structures", "info")
    assert finding.evidence == "member 0 has another frequencies (Tensor)"


@pytest.fixture
def data(rng: Rng) -> tuple[Tensor, Tensor]:
    return rows(rng)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 3}, "patience needs validation rows, however: patience=3. Give valid=(x, y) or folds=5."),
        ({"loss": "auto"}, "mse, mae, huber, quantile or a function, however: 'auto'."),
        ({"loss": "hinge"}, "'hinge'."),
        ({"loss": "crossentropy"}, "or a function, however: 'crossentropy'. Did you mean cross_entropy?"),
        (
            {"loss": nn.CrossEntropyLoss},
            "loss must be a function, however: the class CrossEntropyLoss. Give CrossEntropyLoss().",
        ),
        ({"optimizer": "adamx"}, "optimizer must be among sgd, momentum, nesterov, rmsprop, adam, adamw, however: "),
        (
            {"optimizer": torch.optim.AdamW},
            "optimizer must be lockstep's SGD, RMSprop, Adam, AdamW, or a name, however: AdamW of another library. "
            "Give lockstep.AdamW(…).",
        ),
        ({"optimizer": torch.optim.Adagrad(make().parameters())}, "or a name, however: Adagrad. Give one of these."),
        ({"optimizer": [SGD(), AdamW()]}, "however: list. To try each of several: optimizer=lockstep.Vary(…, …)."),
        ({"optimizer": None}, "optimizer must be lockstep's SGD, RMSprop, Adam, AdamW, or a name, however: NoneType."),
        ({"schedule": "cosin"}, "schedule must have a name among 'constant', 'step', "),
        ({"schedule": torch.optim.lr_scheduler.StepLR}, "Give lockstep.StepLR(…)."),
        ({"epochs": [1, 0]}, "epochs must be >= 1, however: 0."),
        ({"batch_size": 0}, "batch_size must be >= 1, however: 0."),
        ({"folds": 0}, "folds must be >= 1, however: 0."),
        ({"loss": lockstep.Vary("mse", F.mse_loss)}, "loss may vary among names and Loss(…), however: a function."),
        ({"make": sized}, "make_module must be callable without more than module holds, however: it needs width."),
        (
            {"make": sized, "module": {"widht": 3}},
            "module must hold arguments of make_module, however: widht. Did you mean width?",
        ),
        ({"make": nn.Linear(4, 3)}, "make_module must be a function that makes a new module for each member"),
        ({"seeds": lockstep.Vary(1, 2)}, "seeds must be one for all candidates"),
        ({"loss": Loss(name="cross_entropy", class_weights="balanced")}, "class_weights must be one number per class"),
        ({"epochs": 0}, "epochs must be >= 1, however: 0."),
        ({"clip_norm": -1}, "clip_norm must be > 0, however: -1."),
        ({"members": [4]}, "members must be among 0 to 0"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(data: tuple[Tensor, Tensor], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        train(data, **settings)
    assert message in str(caught.value)


def test_folds_and_validation_rows_exclude_each_other(data: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(SpecError, match="valid and folds exclude each other, however: folds=3 and valid rows"):
        train(data, data, folds=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "data must be (x, y), a map-style Dataset or its DataLoader, however: int."),
        ((torch.zeros(3, 4),), "data must be (x, y), a map-style Dataset or its DataLoader, however: tuple."),
        ((torch.zeros(3, 4), torch.zeros(2)), "data must have as many rows in x as in y, however: 3 and 2."),
        ((torch.zeros(0, 4), torch.zeros(0)), "data must have rows, however: 0."),
        (
            "rows.csv",
            "data must be (x, y), a map-style Dataset or its DataLoader, however: str. Files are for lockstep.fit.",
        ),
        (
            (torch.zeros(2, 4), np.array(["a", "b"])),
            "data must hold numbers that make a tensor, however: text or objects. As class codes: "
            "np.unique(y, return_inverse=True)[1].",
        ),
        (
            (torch.full((2, 4), torch.nan), torch.zeros(2)),
            "data must hold finite numbers, however row 0 has NaN or infinity. Fill or drop it.",
        ),
        (
            (torch.zeros(2, 4), torch.tensor([0, 7])),
            "Class codes count from 0 to 2 for a network of 3 outputs, however y holds 0 to 7. Give the network 8 "
            "outputs.",
        ),
    ],
)
def test_data_that_is_no_x_and_y_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        train(wrong)
    assert str(caught.value) == message
