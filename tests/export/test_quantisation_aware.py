"""int8 with training: when it is tried, what is kept of it, and that it takes fewer layers in float on a network that loses much."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nat_deploy.data import DataSplits, load_data
from nat_deploy.errors import ParityError
from nat_deploy.export import Int8Subnet, quantise_subnet
from nat_deploy.export.export_subnet import _draw
from nat_deploy.export.inference import logits_of
from nat_deploy.export.quantisation import Choice, Damage, Int8Search
from nat_deploy.onnx_graphs import Quantisation, build_graph
from nat_deploy.spaces import Block
from nat_deploy.supernets import Subnet
from nat_deploy.supernets.layers import initialise
from nat_deploy.training.finetune import FinetuneSettings, Lesson, train_to_best
from nat_deploy.training.quantisation_aware import TrainedInt8, quantisation_aware_settings
from nat_deploy.training.step import StepSettings

Run = Callable[..., Int8Subnet]
LAYERS = ("0.conv", "1.projection", "2.expansion")
SIZE = 16
BLOCKS = (
    Block(kind="conv", in_channels=3, out_channels=16, in_size=SIZE, kernel_size=3, stride=2, activation="relu"),
    Block(kind="mbconv", in_channels=16, mid_channels=32, out_channels=16, in_size=8, kernel_size=3, expanded=True, shortcut=True,
          activation="relu"),
    Block(kind="mbconv", in_channels=16, mid_channels=48, out_channels=24, in_size=8, kernel_size=3, stride=2, expanded=True,
          activation="relu"),
    Block(kind="pool", in_channels=24, out_channels=24, in_size=4),
    Block(kind="linear", in_channels=24, out_channels=10, in_size=1, bias=True),
)  # fmt: skip


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> DataSplits:
    return load_data("digits", image_size=32, seed=0, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def subnet(digits: DataSplits, tmp_path_factory: pytest.TempPathFactory) -> Subnet:
    """Trained, and then one channel of each expansion made 256 times as large, and the filter that reads it as much smaller.

    It computes the same; but with one scale for all channels of a tensor, the others have little left of 8 bits.
    """
    start = Subnet(BLOCKS).eval()
    initialise(start, torch.Generator().manual_seed(0))
    settings = FinetuneSettings(epochs=4, patience=4, batch_size=32, learning_rate=2e-2, warmup_epochs=0.5, average_decay=0.9)
    lesson = Lesson(start=start, teacher=None, resolution=SIZE, augmentation=digits.augmentation, settings=settings)
    best = train_to_best(lesson, digits.train, digits.val, tmp_path_factory.mktemp("start") / "start", lambda epoch: None)
    assert best is not None
    weights = {name: values.clone() for name, values in best.weights.items()}
    for block in (1, 2):
        for name in ("expansion_bn.weight", "expansion_bn.bias"):
            weights[f"{block}.{name}"][0] *= 256
        weights[f"{block}.depthwise.weight"][0] /= 256
    subnet = Subnet(BLOCKS)
    subnet.load_state_dict(weights)
    return subnet.eval()


@pytest.fixture
def run(digits: DataSplits, subnet: Subnet, tmp_path: Path) -> Run:
    def run(**arguments: object) -> Int8Subnet:
        images, validation = _draw(digits.train, SIZE, 256, 0).images, _draw(digits.val, SIZE, 1000, 0)
        given: dict[str, object] = {
            "images": images,
            "validation": validation,
            "epochs": 2,
            "checkpoint": tmp_path / "net",
        }
        return quantise_subnet(subnet, digits, **(given | arguments))  # type: ignore[arg-type]

    return run


def test_a_trained_network_needs_fewer_layers_in_float(run: Run, subnet: Subnet, digits: DataSplits, tmp_path: Path) -> None:
    before = {name: values.clone() for name, values in subnet.state_dict().items()}
    steps: list[tuple[str, int, int]] = []
    step = StepSettings(label_smoothing=0.0, distilled_share=0.95)
    settings = replace(quantisation_aware_settings(4, seed=0), batch_size=32, learning_rate=5e-3, average_decay=0.98, step=step)
    found = run(settings=settings, max_drop=3.0, on_step=lambda *step: steps.append(step))
    training = found.report.training
    assert training is not None
    assert training.post_training is not None
    assert training.trained is not None
    assert training.trained.num_float_layers < training.post_training.num_float_layers
    assert training.is_kept
    assert "layers stay in float" in training.reason
    assert len(found.report.float_layers) == training.trained.num_float_layers
    assert found.report.drop_points <= 3
    assert training.drop_before > 10
    assert [step for step in steps if step[0] == "training in int8"] == [("training in int8", done, 4) for done in range(5)]
    assert not list(tmp_path.iterdir()), "the checkpoint goes when the training is done"
    assert all(torch.equal(values, before[name]) for name, values in subnet.state_dict().items())
    # what is reported is what the graph of these weights does
    model = build_graph(
        BLOCKS, weights=found.subnet.numpy_weights(), batch_size=None, precision="int8", quantisation=found.quantisation
    )
    validation = _draw(digits.val, SIZE, 1000, 0)
    assert validation.top1_percent(logits_of(model, validation.images)) == pytest.approx(found.report.top1_percent)


def test_it_is_not_tried_where_everything_may_be_in_int8(run: Run, subnet: Subnet, monkeypatch: pytest.MonkeyPatch) -> None:
    decree(monkeypatch, plain=(0, 0.5), learnt=None)
    found = run()
    assert found.report.training is None
    assert found.subnet is subnet


@pytest.mark.parametrize(
    ("plain", "learnt", "is_kept", "reason"),
    [
        ((3, 0.5), (1, 0.9), True, "1 instead of 3 layers stay in float"),
        ((1, 0.5), (3, -2.0), False, "3 instead of 1 layers stay in float"),
        ((2, 0.5), (2, 0.25), True, "with as many layers in float +0.25 instead of +0.50 points are lost"),
        ((2, 0.5), (2, 0.5), False, "with as many layers in float +0.50 instead of +0.50 points are lost"),
        (None, (2, 0.5), True, "without training no layer may be in int8"),
        ((2, 0.5), None, False, "with any number of layers in float they lose more than is allowed"),
    ],
)
def test_the_better_one_is_kept(plain, learnt, is_kept, reason, run: Run, subnet: Subnet, monkeypatch) -> None:
    decree(monkeypatch, plain=plain, learnt=learnt)
    found = run()
    training = found.report.training
    assert training is not None
    assert (training.is_kept, training.reason) == (is_kept, reason)
    assert (found.subnet is not subnet) == is_kept
    count, drop = learnt if is_kept else plain
    assert (len(found.report.float_layers), found.report.drop_points) == (count, drop)
    costs = [
        None if cost is None else (cost.num_float_layers, cost.drop_points) for cost in (training.post_training, training.trained)
    ]
    assert costs == [plain, learnt]
    assert (training.best_epoch, training.num_epochs) == (1, 2)


def test_what_neither_can_do_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    decree(monkeypatch, plain=None, learnt=None)
    for epochs in (0, 2):
        with pytest.raises(ParityError, match="raise --max-drop"):
            run(epochs=epochs)


def test_training_that_gives_nothing_finite_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    decree(monkeypatch, plain=(2, 0.5), learnt=(0, 0.0))
    monkeypatch.setattr("nat_deploy.export.quantisation_aware.train_quantised", lambda *args, **named: None)
    training = run().report.training
    assert training is not None
    assert (training.is_kept, training.best_epoch, training.reason) == (False, None, "no epoch gave finite outputs")


def test_a_checkpoint_belongs_to_one_question(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Killed and called again, training finds its file; with other settings it does not."""
    decree(monkeypatch, plain=(2, 0.5), learnt=(0, 0.0))
    seen: list[Path] = []

    def killed(*arguments: object, checkpoint: Path, **named: object) -> None:
        seen.append(checkpoint)
        checkpoint.write_bytes(b"")
        raise KeyboardInterrupt

    monkeypatch.setattr("nat_deploy.export.quantisation_aware.train_quantised", killed)
    other: FinetuneSettings = replace(quantisation_aware_settings(2, seed=0), learning_rate=0.1)
    for arguments in ({}, {}, {"settings": other}, {"epochs": 3}):
        with pytest.raises(KeyboardInterrupt):
            run(**arguments)
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3
    assert all(file.exists() and file.parent == tmp_path and file.name.startswith("net.") for file in seen)


def decree(monkeypatch: pytest.MonkeyPatch, *, plain: tuple[int, float] | None, learnt: tuple[int, float] | None) -> None:
    """Layers in float and points lost, before and after a training that takes no time."""

    def result(cost: tuple[int, float] | None, quantisation: Quantisation) -> Choice | None:
        if cost is None:
            return None
        chosen = replace(quantisation, float_layers=frozenset(LAYERS[: cost[0]]))
        return Choice(quantisation=chosen, damage=Damage(drop_points=cost[1], share_far=0.0))

    def fewest_in_float(search: Int8Search, quantisation: Quantisation, max_drop: float) -> Choice | None:
        return result(learnt if search._is_trained else plain, quantisation)

    def train_quantised(subnet: Subnet, *arguments: object, **named: object) -> TrainedInt8:
        return TrainedInt8(subnet=Subnet(subnet.blocks), epoch=1)

    quantisation = Quantisation(ranges={})
    monkeypatch.setattr(Int8Search, "calibrated", lambda search: quantisation)
    monkeypatch.setattr(Int8Search, "damage", lambda search, quantisation: Damage(drop_points=5.0, share_far=0.0))
    monkeypatch.setattr(Int8Search, "fewest_in_float", fewest_in_float)
    monkeypatch.setattr("nat_deploy.export.quantisation_aware.train_quantised", train_quantised)


def test_few_epochs_have_settings_of_their_own() -> None:
    settings = quantisation_aware_settings(3, seed=4)
    assert (settings.epochs, settings.patience, settings.seed) == (3, 3, 4)
    assert settings.warmup_epochs == 0.5
