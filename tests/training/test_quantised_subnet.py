"""A subnet in torch beside the file that is exported: the same numbers, and gradients where nothing saturates."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from nat_deploy.onnx_graphs import Quantisation, Range, build_graph, draw_weights, layer_names
from nat_deploy.onnx_graphs.int8 import quantise_weight
from nat_deploy.spaces import Block
from nat_deploy.supernets import Subnet, calibrate_batch_norm
from nat_deploy.supernets.folding import fold_batch_norms, folded_weights
from nat_deploy.training.quantised_subnet import QuantisedSubnet, fake_quantise, fake_quantise_weight

FORMS = ("onnxruntime", "tensorrt")
# every kind of block, activation and shortcut, and a size that strides do not divide
MBCONVS = (
    Block(kind="conv", in_channels=3, out_channels=8, in_size=15, kernel_size=3, stride=2, activation="hswish"),
    Block(kind="mbconv", in_channels=8, mid_channels=16, out_channels=8, in_size=8, kernel_size=3, expanded=True, shortcut=True,
          se_channels=8, activation="relu"),
    Block(kind="mbconv", in_channels=8, mid_channels=16, out_channels=12, in_size=8, kernel_size=5, stride=2, expanded=True,
          activation="relu6"),
    Block(kind="mbconv", in_channels=12, mid_channels=24, out_channels=12, in_size=4, kernel_size=3, expanded=True, se_channels=8,
          activation="hswish"),
    Block(kind="pool", in_channels=12, out_channels=12, in_size=4),
    Block(kind="linear", in_channels=12, out_channels=16, in_size=1, activation="hswish"),
    Block(kind="linear", in_channels=16, out_channels=5, in_size=1, bias=True),
)  # fmt: skip
BOTTLENECKS = (
    Block(kind="conv", in_channels=3, out_channels=8, in_size=15, kernel_size=3, activation="relu"),
    Block(kind="maxpool", in_channels=8, out_channels=8, in_size=15, kernel_size=3, stride=2),
    Block(kind="bottleneck", in_channels=8, mid_channels=8, out_channels=16, in_size=8, kernel_size=3, activation="relu"),
    Block(kind="bottleneck", in_channels=16, mid_channels=8, out_channels=16, in_size=8, kernel_size=3, shortcut=True, activation="relu"),
    Block(kind="bottleneck", in_channels=16, mid_channels=8, out_channels=20, in_size=8, kernel_size=3, stride=2, activation="relu"),
    Block(kind="pool", in_channels=20, out_channels=20, in_size=4),
    Block(kind="linear", in_channels=20, out_channels=5, in_size=1, bias=True),
)  # fmt: skip
NETWORKS = {"mbconv": MBCONVS, "bottleneck": BOTTLENECKS}


@pytest.fixture(scope="module", params=NETWORKS)
def subnet(request: pytest.FixtureRequest) -> Subnet:
    rng = np.random.default_rng(7)
    subnet = Subnet(NETWORKS[request.param])
    subnet.load_weights({name: torch.from_numpy(values) for name, values in draw_weights(subnet.blocks, rng).items()})
    return calibrate_batch_norm(subnet, [images_of(64)])


def images_of(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(count).standard_normal((count, 3, 15, 15), dtype=np.float32))


def quantisation_of(subnet: Subnet, form: str, float_layers: frozenset[str] = frozenset()) -> Quantisation:
    """Ranges that saturate a little, so that this is compared too."""
    model = build_graph(subnet.blocks, weights=subnet.numpy_weights(), batch_size=None)
    ranges = {"images": Range(low=-3.0, high=3.0)}
    for name, values in outputs_of(model, images_of(32)).items():
        low, high = np.percentile(values, [0.5, 99.5])
        ranges[name] = Range(low=min(0.0, float(low)), high=max(0.0, float(high)))
    return Quantisation(ranges=ranges, form=form, float_layers=float_layers)  # type: ignore[arg-type]


def outputs_of(model: onnx.ModelProto, images: Tensor) -> dict[str, np.ndarray]:
    """Every tensor by name."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    names = [node.output[0] for node in model.graph.node]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    return dict(zip(names, run(model, images, "ORT_DISABLE_ALL"), strict=True))


def run(model: onnx.ModelProto, images: Tensor, level: str) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images.numpy()})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("in_float", [0, 3])
def test_outputs_are_those_of_the_graph(form: str, in_float: int, subnet: Subnet) -> None:
    """Node by node, ONNX Runtime gives the same numbers. Its fused kernels round once more, which moves values by a step here and there."""
    quantisation = quantisation_of(subnet, form, frozenset(layer_names(subnet.blocks)[1 : 1 + in_float]))
    model = build_graph(
        subnet.blocks, weights=subnet.numpy_weights(), batch_size=None, precision="int8", quantisation=quantisation
    )
    images = images_of(50)
    with torch.no_grad():
        found = QuantisedSubnet(subnet, quantisation)(images).numpy()
        exact = subnet(images).numpy()
    far = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert np.median(far) > 0.01, "quantising changes something"
    (plain,), (fused,) = (run(model, images, level) for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"))
    for given, typical, rare in ((plain, 1e-5, 0.05), (fused, 0.03, 0.15)):
        errors = np.linalg.norm(found - given, axis=1) / np.linalg.norm(exact, axis=1)
        assert np.median(errors) <= typical
        assert np.quantile(errors, 0.9) <= rare


def test_weights_are_rounded_as_they_are_stored(subnet: Subnet) -> None:
    for values in subnet.numpy_weights().values():
        if values.ndim > 1:
            integers, scales = quantise_weight(values)
            stored = integers * scales.reshape(-1, *[1] * (values.ndim - 1))
            assert np.array_equal(fake_quantise_weight(torch.from_numpy(values)).numpy(), stored)


def test_rounding_placed_by_hand() -> None:
    """Steps of 0.5 from -1 to 126.5: what lies outside saturates and gets no gradient, what lies inside gets all of it."""
    values = torch.tensor([-7.0, -1.2, -0.3, 0.0, 0.25, 0.3, 5.0, 126.6, 126.8, 500.0], requires_grad=True)
    found = fake_quantise(values, scale=0.5, zero=2, low=0, high=255)
    assert found.tolist() == [-1.0, -1.0, -0.5, 0.0, 0.0, 0.5, 5.0, 126.5, 126.5, 126.5]
    (gradient,) = torch.autograd.grad((found * torch.arange(10.0)).sum(), values)
    assert gradient.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 0]


def test_gradients_reach_every_weight_and_no_statistic(subnet: Subnet) -> None:
    network = QuantisedSubnet(subnet, quantisation_of(subnet, "onnxruntime")).train()
    before = {name: values.clone() for name, values in network.state_dict().items()}
    network(images_of(8)).square().mean().backward()
    assert all(torch.count_nonzero(weight.grad) for weight in network.parameters() if weight.grad is not None)
    assert all(weight.grad is not None for weight in network.parameters())
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())


def test_folding_is_that_of_the_graph(subnet: Subnet) -> None:
    model = build_graph(subnet.blocks, weights=subnet.numpy_weights(), batch_size=None)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    folded = {name: values.detach().numpy() for name, values in folded_weights(subnet).items()}
    assert set(folded) == {name for name in stored if name.endswith((".weight", ".bias"))}
    for name, values in folded.items():
        np.testing.assert_allclose(values, stored[name], rtol=2e-7, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(fold_batch_norms(subnet)(images_of(4)), subnet(images_of(4)), rtol=1e-3, atol=1e-4)


def test_a_new_weight_is_rounded_anew(subnet: Subnet) -> None:
    """The graph is read once; the weights are those of now."""
    quantisation = quantisation_of(subnet, "tensorrt")
    network = QuantisedSubnet(subnet, quantisation)
    changed = Subnet(subnet.blocks)
    changed.load_state_dict(
        {
            name: 1.1 * v if name.endswith("projection.weight") or "conv3.weight" in name else v
            for name, v in subnet.state_dict().items()
        }
    )
    network.load_state_dict(changed.state_dict())
    with torch.no_grad():
        assert torch.equal(network(images_of(4)), QuantisedSubnet(changed, quantisation)(images_of(4)))
        assert not torch.equal(network(images_of(4)), QuantisedSubnet(subnet, quantisation)(images_of(4)))


def test_layers_in_float_are_not_rounded(subnet: Subnet) -> None:
    everything = frozenset(layer_names(subnet.blocks))
    quantisation = replace(quantisation_of(subnet, "tensorrt"), float_layers=everything)
    model = build_graph(
        subnet.blocks, weights=subnet.numpy_weights(), batch_size=None, precision="int8", quantisation=quantisation
    )
    with torch.no_grad():
        found = QuantisedSubnet(subnet, quantisation)(images_of(4)).numpy()
    np.testing.assert_allclose(found, run(model, images_of(4), "ORT_DISABLE_ALL")[0], rtol=1e-4, atol=1e-4)
