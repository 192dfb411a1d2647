from pathlib import Path

import pytest

from nat_deploy.data import DataSplits, load_data


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> DataSplits:
    """scikit-learn's handwritten digits at 32 pixels: real images that need no network."""
    cache: Path = tmp_path_factory.mktemp("cache")
    return load_data("digits", image_size=32, seed=0, cache_dir=cache)
