"""Describe: what a subnet costs, counted, and on a device predicted."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nat_deploy.errors import MissingError
from nat_deploy.predictors.latency import AdditivePredictor, predictor_from_table
from nat_deploy.profiling import Device, find_sources, find_table
from nat_deploy.spaces import Architecture, Block, count_macs, count_params
from nat_deploy.spaces.subnet_file import SubnetFile, load_subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCosts:
    """One block and what it costs."""

    block: Block
    macs: int
    num_params: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedLatency:
    """Latency in ms of one batch, with the interval of 95 of 100 networks.

    is_outside  the predictor has not seen the like
    sources     keys of the targets whose tables helped, because the device's own is small
    """

    value_ms: float
    low_ms: float
    high_ms: float
    target: str
    is_outside: bool
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A subnet in numbers."""

    architecture: Architecture
    num_classes: int
    macs: int
    num_params: int
    peak_activation_bytes: int
    blocks: tuple[BlockCosts, ...]
    latency: PredictedLatency | None


def describe_subnet(path: Path, *, device: Device | None = None) -> Description:
    """Count the costs of a `subnet.json`, or of a file that NAT or Once-for-all published; predict its latency on a device.

    Raises:
        MissingError: There is no such file, or no latency table of the device.
        InputError: The file or the device cannot be used.
    """
    subnet = load_subnet(path)
    space, architecture = subnet.space, subnet.architecture
    counts = space.count(space.encode(architecture)[None])
    return Description(
        architecture=architecture,
        num_classes=subnet.num_classes,
        macs=int(counts.macs[0]),
        num_params=int(counts.num_params[0]),
        peak_activation_bytes=int(counts.peak_activation_bytes[0]),
        blocks=tuple(
            BlockCosts(block=block, macs=count_macs(block), num_params=count_params(block))
            for block in space.blocks(architecture)
        ),
        latency=None if device is None else predict_latency(subnet, device),
    )


def predict_latency(subnet: SubnetFile, device: Device, tables: Path | None = None) -> PredictedLatency:
    """Predict from the table of the device and the subnet's space; `tables` is a run folder that may hold one.

    Raises:
        MissingError: There is no such table.
    """
    space = subnet.space
    table = find_table(device, space.name, run_folder=tables)
    if table is None:
        profiling = f"natdeploy profile --device {device.name} --space {space.name}"
        maker = "natdeploy table import" if device.transport == "table" else profiling
        raise MissingError(
            f"predicting needs a latency table of '{space.name}' on '{device.name}', but there is none; make one with: {maker}"
        )
    predictor = predictor_from_table(space, table, sources=find_sources(table))
    genes = space.encode(subnet.architecture)[None]
    prediction = predictor.predict(genes)
    return PredictedLatency(
        value_ms=float(prediction.value[0]),
        low_ms=float(prediction.low[0]),
        high_ms=float(prediction.high[0]),
        target=table.target.key,
        is_outside=bool(np.asarray(predictor.is_outside(genes))[0]),
        sources=tuple(source.target.key for source in predictor.sources) if isinstance(predictor, AdditivePredictor) else (),
    )
