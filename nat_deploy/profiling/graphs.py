"""Model files of what is to be measured, with random weights: latency does not depend on them.

Every graph is built as ONNX; a runtime that takes other files gets it converted.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from nat_deploy.conversion import convert
from nat_deploy.files import writing_error
from nat_deploy.onnx_graphs import Int8Form, Quantisation, build_graph, build_identity_graph
from nat_deploy.profiling.choose import Sitting
from nat_deploy.profiling.devices import Device
from nat_deploy.spaces import Architecture, Block, SearchSpace
from profilers.job import ModelFile
from profilers.runtimes import model_suffix

OVERHEAD_ID = "overhead"


def network_id(number: int) -> str:
    """Id of the n-th network of a sitting."""
    return f"network-{number:03d}"


def block_id(number: int) -> str:
    """Id of the n-th block of a sitting."""
    return f"block-{number:03d}"


def write_networks(
    device: Device, space: SearchSpace, architectures: Sequence[Architecture], folder: Path, *, seed: int
) -> list[ModelFile]:
    """One file for each architecture, of the kind, precision and batch size of a device; the same seed gives the same bytes.

    Raises:
        MissingError: The runtime takes files that need a package to write, and it is not installed here.
        InputError: These files cannot hold graphs of the precision.
    """
    return [
        _written(device, space.blocks(architecture), folder, network_id(number), (seed, number))
        for number, architecture in enumerate(architectures)
    ]


def write_sitting(device: Device, space: SearchSpace, sitting: Sitting, folder: Path, *, seed: int) -> list[ModelFile]:
    """Files of all graphs of a sitting; errors as of `write_networks`."""
    files = write_networks(device, space, sitting.networks, folder, seed=seed)
    files += [_written(device, [block], folder, block_id(number), (seed, number)) for number, block in enumerate(sitting.blocks)]
    if sitting.with_overhead:
        files.append(_saved(device, build_identity_graph((device.batch_size,)), folder, OVERHEAD_ID))
    return files


def _written(device: Device, blocks: Sequence[Block], folder: Path, name: str, seed: tuple[int, int]) -> ModelFile:
    form: Int8Form = "tensorrt" if device.runtime.startswith("tensorrt") else "onnxruntime"
    model = build_graph(
        blocks,
        rng=np.random.default_rng(seed),
        batch_size=device.batch_size,
        precision=device.precision,
        quantisation=Quantisation(form=form) if device.precision == "int8" else None,
    )
    return _saved(device, model, folder, name)


def _saved(device: Device, model: onnx.ModelProto, folder: Path, name: str) -> ModelFile:
    suffix = model_suffix(device.runtime)
    path, content = folder / f"{name}{suffix}", convert(model, suffix)
    try:
        path.write_bytes(content)  # read once and thrown away: it need not survive a crash
    except OSError as error:
        raise writing_error(path, error) from error
    return ModelFile(id=name, path=path)
