"""Files with the same content are the same bytes, so that runs can be compared."""

from pathlib import Path

import torch
from safetensors import safe_open

from nat_deploy.supernets import load_weights, save_weights


def test_weights_and_metadata_in_any_order_give_the_same_file(tmp_path: Path) -> None:
    weights = {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor(7)}
    metadata = {name: f"Käfer {name}" for name in "hgfedcba"}
    files = [tmp_path / str(number) for number in range(5)]
    for path in files:
        save_weights(path, weights, metadata)
        metadata = dict(reversed(metadata.items()))
    assert len({path.read_bytes() for path in files}) == 1
    found = load_weights(files[0])
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())
    with safe_open(files[0], framework="pt") as file:
        assert file.metadata() == metadata
    save_weights(files[0], weights)
    assert set(load_weights(files[0])) == {"a", "b"}
