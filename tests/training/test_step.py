"""One step: which weights move, who teaches, and how a batch is divided."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from nat_deploy.data import Batch
from nat_deploy.errors import InputError
from nat_deploy.spaces import Architecture, OfaMobileNetV3Space
from nat_deploy.supernets import MBConvSupernet, extract_subnet
from nat_deploy.training.averaging import update_average, warmed_up
from nat_deploy.training.optimiser import make_optimiser
from nat_deploy.training.process_group import Processes
from nat_deploy.training.step import StepSettings, make_scaler, train_step
from tests.supernets.networks import make_lively_supernet

SPACE = OfaMobileNetV3Space(0.35, (32, 48), 7)
Weights = dict[str, Tensor]


def batch(count: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, 32, 32, generator=generator), torch.randint(7, (count,), generator=generator)


def learn(
    architectures: Sequence[Architecture],
    settings: StepSettings,
    parts: Sequence[Batch] | None = None,
    teacher: torch.nn.Module | None = None,
    steps: int = 1,
) -> tuple[Weights, Weights]:
    """Weights before and after steps with AdamW, whose decay is strong."""
    supernet = make_lively_supernet().float().train()
    optimiser = make_optimiser("adamw", supernet, learning_rate=1e-2, weight_decay=0.5)
    before = {name: parameter.detach().clone() for name, parameter in supernet.named_parameters()}
    for _ in range(steps):
        train_step(supernet, parts or [batch()], architectures, optimiser, settings, teacher=teacher)
    return before, {name: parameter.detach() for name, parameter in supernet.named_parameters()}


def test_weights_that_no_subnet_uses_stay_as_they_are() -> None:
    before, after = learn([SPACE.smallest()], StepSettings(), steps=2)
    mid = 3 * before["layers.0.expansion.weight"].shape[0] // 6
    for name, tensor in (("expansion", before["layers.0.expansion.weight"]), ("depthwise", before["layers.0.depthwise.weight"])):
        moved = (after[f"layers.0.{name}.weight"] != tensor).flatten(1).any(1)
        assert moved[: mid - 4].any()
        assert not moved[mid + 4 :].any(), name
    ring = torch.ones(7, 7, dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    assert torch.equal(after["layers.0.depthwise.weight"][:, 0, ring], before["layers.0.depthwise.weight"][:, 0, ring])
    assert torch.equal(after["layers.3.expansion.weight"], before["layers.3.expansion.weight"]), "deeper than the smallest"


def test_on_request_decay_moves_them_too() -> None:
    before, after = learn([SPACE.smallest()], StepSettings(update_unsampled=True))
    shrunk = after["layers.3.expansion.weight"] / before["layers.3.expansion.weight"]
    torch.testing.assert_close(shrunk, torch.full_like(shrunk, 1 - 1e-2 * 0.5))
    assert (after["layers.0.expansion.weight"] != before["layers.0.expansion.weight"]).all()


def test_a_teacher_is_listened_to_by_all() -> None:
    teacher = extract_subnet(make_lively_supernet().float(), SPACE.largest())
    only_taught = StepSettings(distilled_share=1.0)
    images, labels = batch()
    subnets = [SPACE.smallest()]
    _, one = learn(subnets, only_taught, [(images, labels)], teacher)
    _, other = learn(subnets, only_taught, [(images, (labels + 1) % 7)], teacher)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items()), "labels must not matter"
    _, untaught = learn(subnets, only_taught, [(images, labels)])
    assert any(not torch.equal(tensor, untaught[name]) for name, tensor in one.items())


def test_gradients_of_parts_are_averaged() -> None:
    """Two equal parts have the same statistics, so they must move the weights as one of them does."""
    architectures = [SPACE.largest(), SPACE.smallest()]
    _, once = learn(architectures, StepSettings(), [batch()])
    _, twice = learn(architectures, StepSettings(), [batch(), batch()])
    for name, tensor in once.items():
        torch.testing.assert_close(twice[name], tensor, rtol=1e-4, atol=1e-5)


def test_float16_needs_and_gets_a_scaled_loss() -> None:
    settings = StepSettings(autocast="float16")
    scaler = make_scaler(settings, torch.device("cpu"))
    supernet = make_lively_supernet().float().train()
    optimiser = make_optimiser("sgd", supernet, learning_rate=1e-3, weight_decay=0.0)
    before = supernet.classifier.linear.weight.detach().clone()
    train_step(supernet, [batch()], [SPACE.smallest()], optimiser, settings, scaler=scaler)
    step_16 = supernet.classifier.linear.weight.detach() - before
    plain = make_lively_supernet().float().train()
    plain_optimiser = make_optimiser("sgd", plain, learning_rate=1e-3, weight_decay=0.0)
    train_step(plain, [batch()], [SPACE.smallest()], plain_optimiser, StepSettings())
    step_32 = plain.classifier.linear.weight.detach() - before
    assert step_32.abs().max() > 0
    torch.testing.assert_close(step_16, step_32, rtol=0.2, atol=float(step_32.abs().max()) / 20)

    supernet.classifier.linear.weight.data.fill_(float("inf"))
    kept = supernet.stem.conv.weight.detach().clone()
    scale = scaler.get_scale()
    train_step(supernet, [batch()], [SPACE.smallest()], optimiser, settings, scaler=scaler)
    assert torch.equal(supernet.stem.conv.weight, kept), "a step with broken gradients must be left out"
    assert scaler.get_scale() < scale
    assert not make_scaler(StepSettings(), torch.device("cpu")).is_enabled()


def test_parts_are_shared_out_evenly() -> None:
    assert [Processes(rank=rank, count=2).mine("abcd") for rank in range(2)] == ["ac", "bd"]
    with pytest.raises(InputError, match="multiple of 2 parts for 2 processes, but it has 3"):
        Processes(rank=0, count=2).mine("abc")


def test_the_average_follows_and_forgets_its_beginning() -> None:
    average, network = MBConvSupernet(SPACE), MBConvSupernet(SPACE)
    start, goal = average.stem.conv.weight.detach().clone(), network.stem.conv.weight.detach()
    update_average(average, network, 0.75)
    torch.testing.assert_close(average.stem.conv.weight.detach(), 0.75 * start + 0.25 * goal)
    assert np.allclose([warmed_up(0.9, step) for step in (0, 1, 8, 1000)], [0.1, 2 / 11, 0.5, 0.9])
