from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nat_deploy.errors import FileFormatError, MissingError, NatDeployError
from nat_deploy.spaces import OfaMobileNetV3Space, OfaProxylessSpace, OfaResNet50Space, SearchSpace
from nat_deploy.supernets import (
    MBConvSupernet,
    Supernet,
    extract_subnet,
    load_subnet_weights,
    load_supernet,
    save_supernet,
    save_weights,
)
from nat_deploy.supernets.ofa_checkpoint import import_supernet
from tests.supernets.networks import make_lively_supernet, make_lively_supernet_of


@pytest.fixture(scope="module")
def supernet() -> MBConvSupernet:
    return make_lively_supernet().float()


def published_names(supernet: MBConvSupernet, *, infix: str) -> dict[str, torch.Tensor]:
    """The supernet as Once-for-all writes it, from the table of its names and shapes; `infix` tells the two generations apart."""
    state = supernet.state_dict()
    out: dict[str, torch.Tensor] = {}

    def put(theirs: str, ours: str) -> None:
        for name, tensor in state.items():
            if name.startswith(ours + "."):
                out[f"{theirs}.{name[len(ours) + 1 :]}"] = tensor
        if theirs.endswith("bn"):
            out[f"{theirs}.num_batches_tracked"] = torch.tensor(0)

    put("first_conv.conv", "stem.conv")
    put("first_conv.bn", "stem.bn")
    for theirs, ours in (
        ("depth_conv.conv", "depthwise"),
        ("depth_conv.bn", "depthwise_bn"),
        ("point_linear.conv", "projection"),
        ("point_linear.bn", "projection_bn"),
    ):
        put(f"blocks.0.{infix}.{theirs}", f"first.{ours}")
    for index in range(20):
        body, layer = f"blocks.{index + 1}.{infix}", f"layers.{index}"
        for theirs, ours in (
            ("inverted_bottleneck.conv.conv", "expansion"),
            ("inverted_bottleneck.bn.bn", "expansion_bn"),
            ("depth_conv.conv.conv", "depthwise"),
            ("depth_conv.bn.bn", "depthwise_bn"),
            ("depth_conv.se.fc.reduce", "se_reduce"),
            ("depth_conv.se.fc.expand", "se_expand"),
            ("point_linear.conv.conv", "projection"),
            ("point_linear.bn.bn", "projection_bn"),
        ):
            put(f"{body}.{theirs}", f"{layer}.{ours}")
        out[f"{body}.depth_conv.conv.7to5_matrix"] = state[f"{layer}.transform_5"]
        out[f"{body}.depth_conv.conv.5to3_matrix"] = state[f"{layer}.transform_3"]
    put("final_expand_layer.conv", "final_expand.conv")
    put("final_expand_layer.bn", "final_expand.bn")
    out["feature_mix_layer.conv.weight"] = state["feature_mix.linear.weight"][:, :, None, None]
    put("classifier.linear", "classifier.linear")
    return out


def test_the_published_layout_has_475_tensors() -> None:
    supernet = MBConvSupernet(OfaMobileNetV3Space(1.0, (224,), 1000))
    tensors = published_names(supernet, infix="conv")
    assert len(tensors) == 475
    assert sum(tensor.numel() for tensor in tensors.values()) == 7_720_768
    assert tensors["blocks.5.conv.depth_conv.se.fc.reduce.weight"].shape == (40, 144, 1, 1)


def published_proxyless(supernet: Supernet) -> dict[str, torch.Tensor]:
    """As `published_names`, but the last convolution has the name of the layer that MobileNetV3 has after it, and a batch norm."""
    out: dict[str, torch.Tensor] = {}
    for name, tensor in supernet.state_dict().items():
        place, _, rest = name.partition(".")
        if place == "layers":
            index, _, rest = rest.partition(".")
            body = f"blocks.{int(index) + 1}.conv"
        else:
            body = "blocks.0.conv"
        layer, _, kind = rest.partition(".")
        elastic = ".conv" if place == "layers" else ""
        theirs = {"expansion": "inverted_bottleneck", "depthwise": "depth_conv", "projection": "point_linear"}
        if place in ("layers", "first") and layer.startswith("transform"):
            out[f"{body}.depth_conv.conv.{'7to5' if layer.endswith('5') else '5to3'}_matrix"] = tensor
        elif place in ("layers", "first"):
            block = theirs[layer.removesuffix("_bn")]
            part = f"bn{elastic and '.bn'}" if layer.endswith("_bn") else f"conv{elastic}"
            out[f"{body}.{block}.{part}.{kind}"] = tensor
        else:
            outer = {"stem": "first_conv", "final_expand": "feature_mix_layer", "classifier": "classifier"}
            out[f"{outer[place]}.{rest}"] = tensor
    return _with_counters(out)


def published_resnet(supernet: Supernet) -> dict[str, torch.Tensor]:
    out: dict[str, torch.Tensor] = {}
    for name, tensor in supernet.state_dict().items():
        place, index, layer, *kind = name.split(".")
        match place:
            case "stem":
                inside = ".conv" if index == "1" else ""
                out[f"input_stem.{index}{inside}.{layer}.{layer}.{kind[0]}"] = tensor
            case "layers":
                part = "bn" if layer.endswith("_bn") else "conv"
                out[f"blocks.{index}.{layer.removesuffix('_bn')}.{part}.{part}.{kind[0]}"] = tensor
            case _:
                out[f"classifier.linear.linear.{layer}"] = tensor
    return _with_counters(out)


def _with_counters(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Torch's own batch norms count their batches."""
    counted = [name.removesuffix("running_mean") for name in tensors if name.endswith("running_mean")]
    return tensors | {f"{name}num_batches_tracked": torch.tensor(0) for name in counted}


@pytest.mark.parametrize(
    ("space", "publish", "num_tensors"),
    [(OfaProxylessSpace(1.3, (32,), 7), published_proxyless, 446), (OfaResNet50Space((32,), 7), published_resnet, 368)],
)
def test_checkpoints_of_other_spaces_are_read(
    space: SearchSpace, publish: Callable[[Supernet], dict[str, torch.Tensor]], num_tensors: int, tmp_path: Path
) -> None:
    supernet = make_lively_supernet_of(space).float()
    tensors = publish(supernet)
    assert len(tensors) == num_tensors  # as many as the published files have
    torch.save({"state_dict": tensors}, tmp_path / "ofa.pth")
    loaded = import_supernet(tmp_path / "ofa.pth", space)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in supernet.state_dict().items())
    del tensors["blocks.3.conv.point_linear.bn.bn.bias" if num_tensors == 446 else "blocks.3.conv3.bn.bn.bias"]
    torch.save({"state_dict": tensors}, tmp_path / "ofa.pth")
    with pytest.raises(FileFormatError, match=r"missing: layers\.[23]\.\w+_bn\.bias"):
        import_supernet(tmp_path / "ofa.pth", space)


@pytest.mark.parametrize("infix", ["conv", "mobile_inverted_conv"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_checkpoints_of_both_generations_are_read(supernet: MBConvSupernet, tmp_path: Path, infix: str, suffix: str) -> None:
    path = tmp_path / f"ofa{suffix}"
    tensors = {name: tensor.contiguous() for name, tensor in published_names(supernet, infix=infix).items()}
    if suffix == ".pth":
        torch.save({"state_dict": tensors}, path)
    else:
        save_file(tensors, path)
    loaded = import_supernet(path, supernet.space)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = supernet(images, supernet.space.largest())
        assert expected.std() > 0.01
        assert torch.equal(loaded.eval()(images, supernet.space.largest()), expected)


def test_every_key_that_does_not_fit_is_named(supernet: MBConvSupernet, tmp_path: Path) -> None:
    tensors = published_names(supernet, infix="conv")
    del tensors["first_conv.conv.weight"], tensors["blocks.3.conv.point_linear.conv.conv.weight"]
    tensors["blocks.7.conv.mystery.weight"] = torch.zeros(1)
    tensors["classifier.linear.bias"] = torch.zeros(99)
    path = tmp_path / "ofa.pth"
    torch.save({"state_dict": tensors}, path)
    with pytest.raises(FileFormatError) as caught:
        import_supernet(path, supernet.space)
    message = str(caught.value)
    for name in (
        "stem.conv.weight",
        "layers.2.projection.weight",
        "blocks.7.conv.mystery.weight",
        "classifier.linear.bias is (99,)",
    ):
        assert name in message


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "harm").touch, ())

    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Harmful()}, path)
    with pytest.raises(FileFormatError, match="plain tensors"):
        import_supernet(path, OfaMobileNetV3Space(0.35))
    assert not (tmp_path / "harm").exists()


def test_a_supernet_file_comes_back(supernet: MBConvSupernet, tmp_path: Path) -> None:
    path = tmp_path / "supernet.safetensors"
    names = tuple(f"class {index}" for index in range(7))
    save_supernet(path, supernet, class_names=names, trained_on="noise", half=True)
    loaded, info = load_supernet(path)
    assert (info.space, info.class_names, info.trained_on) == ("ofa-mbv3-w0.35", names, "noise")
    assert loaded.space == supernet.space
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected, got = (net.eval()(images, supernet.space.largest()) for net in (supernet, loaded))
    assert (got - expected).norm() < 0.02 * expected.norm(), "half precision keeps three digits"


def test_broken_supernet_files_are_refused_in_a_sentence(supernet: MBConvSupernet, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_supernet(good, supernet, class_names=("a",) * 7, trained_on="noise")
    content = good.read_bytes()
    for size in (0, 4, 100, 5000, len(content) // 2, len(content) - 1):
        bad.write_bytes(content[:size])
        with pytest.raises(NatDeployError):
            load_supernet(bad)
    save_weights(bad, supernet.state_dict(), {"format": "1", "space": "nonsense"})
    with pytest.raises(FileFormatError, match="supernet file of natdeploy"):
        load_supernet(bad)
    broken = dict(supernet.state_dict())
    broken["stem.conv.weight"] = torch.full_like(broken["stem.conv.weight"], float("nan"))
    supernet_with_nan = make_lively_supernet().float()
    supernet_with_nan.load_state_dict(broken)
    save_supernet(bad, supernet_with_nan, class_names=("a",) * 7, trained_on="noise")
    with pytest.raises(FileFormatError, match=r"not finite: stem\.conv\.weight"):
        load_supernet(bad)
    with pytest.raises(MissingError, match="must exist"):
        load_supernet(tmp_path / "none.safetensors")


def test_weights_of_another_architecture_are_refused(supernet: MBConvSupernet, tmp_path: Path) -> None:
    space = supernet.space
    save_weights(tmp_path / "w.safetensors", extract_subnet(supernet, space.smallest()).state_dict())
    load_subnet_weights(space.blocks(space.smallest()), tmp_path / "w.safetensors")
    with pytest.raises(FileFormatError, match="missing: "):
        load_subnet_weights(space.blocks(space.largest()), tmp_path / "w.safetensors")
