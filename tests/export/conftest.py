"""A trained subnet with real images: quantisation is only worth testing where there is something to lose."""

from pathlib import Path

import numpy as np
import pytest

from nat_deploy.data import DataSplits, load_data
from nat_deploy.spaces.subnet_file import SubnetFile
from nat_deploy.supernets import Subnet, load_subnet_weights, load_supernet, save_weights
from nat_deploy.training.evaluate import calibrated_subnet
from nat_deploy.walk.shipped import shipped_supernet

NUM_CLASSES = 5


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def flowers(flowers_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> DataSplits:
    return load_data(flowers_dir, image_size=32, seed=0, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def trained(flowers: DataSplits, tmp_path_factory: pytest.TempPathFactory) -> SubnetFile:
    """The smallest subnet of the shipped supernet, of whose classes the first five are kept under the names of flowers."""
    supernet, _ = load_supernet(shipped_supernet())
    arch = supernet.space.smallest()
    subnet = calibrated_subnet(supernet, arch, flowers.train)
    state = {
        name: values[:NUM_CLASSES].clone() if len(values) == supernet.space.num_classes and "linear" in name else values
        for name, values in subnet.state_dict().items()
    }
    path = tmp_path_factory.mktemp("trained") / "subnet.safetensors"
    save_weights(path, state)
    return SubnetFile(architecture=arch, num_classes=NUM_CLASSES, weights=path)


@pytest.fixture(scope="session")
def trained_subnet(trained: SubnetFile) -> Subnet:
    assert trained.weights is not None
    return load_subnet_weights(trained.space.blocks(trained.architecture), trained.weights).eval()
