"""What holds for every supernet; a supernet's tests inherit it and give the `space` fixture."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nat_deploy.onnx_graphs import build_graph
from nat_deploy.spaces import Architecture, SearchSpace
from nat_deploy.supernets import (
    Subnet,
    Supernet,
    calibrate_batch_norm,
    extract_subnet,
    load_supernet,
    make_supernet,
    save_supernet,
)
from tests.onnx_graphs.test_build_graph import relative_error, run
from tests.supernets.networks import make_lively_supernet_of


@cache
def _lively(space: SearchSpace) -> Supernet:
    """One for all tests that leave it as it is."""
    return make_lively_supernet_of(space).float()


class SupernetContract:
    """`space` has seven classes and a smallest resolution of 32."""

    @pytest.fixture
    def space(self) -> SearchSpace:
        raise NotImplementedError

    @pytest.fixture
    def supernet(self, space: SearchSpace) -> Supernet:
        return _lively(space)

    @pytest.fixture
    def images(self) -> torch.Tensor:
        return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))

    @pytest.fixture
    def architectures(self, space: SearchSpace) -> list[Architecture]:
        genes = space.sample(np.random.default_rng(5), 6)
        return [space.smallest(), space.largest(), *(space.decode(row) for row in genes)]

    @torch.no_grad()
    def test_extracted_subnets_give_the_same_outputs(
        self, supernet: Supernet, images: torch.Tensor, architectures: list[Architecture]
    ) -> None:
        for architecture in architectures:
            elastic, plain = supernet(images, architecture), extract_subnet(supernet, architecture)(images)
            assert elastic.std() > 0.01, "an untrained net's logits prove nothing"
            assert torch.equal(plain, elastic)

    @torch.no_grad()
    def test_graphs_of_calibrated_subnets_compute_the_same(self, supernet: Supernet, architectures: list[Architecture]) -> None:
        for architecture in architectures[:4]:
            size = architecture.resolution
            images = torch.randn(32, 3, size, size, generator=torch.Generator().manual_seed(4))
            subnet = calibrate_batch_norm(extract_subnet(supernet, architecture), [images])
            model = build_graph(subnet.blocks, weights=subnet.numpy_weights(), batch_size=None)
            expected = (
                copy.deepcopy(subnet).double()(images[:4].double()).numpy()
            )  # torch's float32 is itself up to 7e-5 off on the largest
            assert expected.std() > 0.01
            assert relative_error(run(model, images[:4].numpy()), expected) < 1e-4

    @torch.no_grad()
    def test_different_architectures_give_different_outputs(
        self, supernet: Supernet, images: torch.Tensor, architectures: list[Architecture]
    ) -> None:
        outputs = [supernet(images, architecture) for architecture in architectures]
        for index, output in enumerate(outputs):
            assert all((output - other).norm() > 1e-2 * output.norm() for other in outputs[index + 1 :])

    @torch.no_grad()
    def test_nothing_remembers_which_subnet_ran_last(
        self, supernet: Supernet, images: torch.Tensor, architectures: list[Architecture]
    ) -> None:
        first, second = architectures[:2]
        before = supernet(images, first)
        supernet(images, second)
        assert torch.equal(supernet(images, first), before)

    def test_macs_and_parameters_agree_with_torch(self, supernet: Supernet) -> None:
        size = 128  # on smaller images, kernels reach over the last maps, and are cut
        space = supernet.with_resolutions((size,)).space
        genes = space.sample(np.random.default_rng(0), 4)
        counts = space.count(genes)
        for index, architecture in enumerate(map(space.decode, genes)):
            with torch.device("meta"):
                network = Subnet(space.blocks(architecture)).eval()
                counter = FlopCounterMode(display=False)
                with counter:
                    network(torch.empty(1, 3, size, size))
            assert counter.get_total_flops() == 2 * counts.macs[index]
            assert sum(parameter.numel() for parameter in network.parameters()) == counts.num_params[index]

    def test_weights_that_were_not_used_get_no_gradient(self, space: SearchSpace, images: torch.Tensor) -> None:
        supernet = make_lively_supernet_of(space).float()
        supernet(images, space.smallest()).square().sum().backward()
        used = {id(p) for module, _ in supernet.modules_of(space.smallest()) for p in module.parameters()}
        assert all((parameter.grad is None) == (id(parameter) not in used) for parameter in supernet.parameters())
        touched = sum(int((p.grad != 0).sum()) for p in supernet.parameters() if p.grad is not None)
        held = sum(parameter.numel() for parameter in supernet.parameters() if id(parameter) in used)
        assert 0 < touched < 0.9 * held, "channels beyond the active ones"

    @torch.no_grad()
    def test_a_new_head_keeps_the_body(self, supernet: Supernet) -> None:
        other = supernet.with_classes(3).eval()
        assert other.space.num_classes == 3
        assert other(torch.randn(2, 3, 32, 32), other.space.smallest()).shape == (2, 3)
        for name, tensor in other.state_dict().items():
            if "classifier." not in name:
                assert torch.equal(tensor, supernet.state_dict()[name])

    @torch.no_grad()
    def test_other_resolutions_keep_the_weights(self, supernet: Supernet, images: torch.Tensor, space: SearchSpace) -> None:
        other = supernet.with_resolutions((64, 72)).eval()
        assert other.space.resolutions == (64, 72)
        assert torch.equal(other(images, other.space.largest()), supernet(images, space.largest()))

    @torch.no_grad()
    def test_sorting_channels_changes_no_output_of_the_full_width(self, space: SearchSpace, images: torch.Tensor) -> None:
        supernet = make_lively_supernet_of(space)
        images = images.double()
        before, weights = (
            supernet(images, space.largest()),
            {name: tensor.clone() for name, tensor in supernet.state_dict().items()},
        )
        supernet.sort_channels(self.widest())
        torch.testing.assert_close(supernet(images, space.largest()), before, rtol=1e-9, atol=1e-9)
        assert any(not torch.equal(tensor, weights[name]) for name, tensor in supernet.state_dict().items())

    def widest(self) -> tuple[float, ...]:
        """The largest expansion of the space."""
        raise NotImplementedError

    @torch.no_grad()
    def test_a_file_comes_back(self, supernet: Supernet, tmp_path: Path, images: torch.Tensor, space: SearchSpace) -> None:
        names = tuple(f"class {index}" for index in range(7))
        save_supernet(tmp_path / "s.safetensors", supernet, class_names=names, trained_on="noise")
        loaded, info = load_supernet(tmp_path / "s.safetensors")
        assert (info.space, info.class_names) == (space.name, names)
        assert loaded.space == space
        assert torch.equal(loaded.eval()(images, space.largest()), supernet(images, space.largest()))

    def test_the_same_seed_gives_the_same_weights(self, space: SearchSpace) -> None:
        first, second, other = (make_supernet(space, torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2))
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
        assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())
