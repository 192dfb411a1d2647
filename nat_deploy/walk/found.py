"""What a search found, as files: the chosen network and each finalist, with weights for every data set.

RUN/subnet.json, RUN/finalists/1/subnet.json, ...              of a search on one data set
RUN/chosen/DATA/subnet.json, RUN/finalists/1/DATA/subnet.json  of a search on several: the same architecture with weights for each
RUN/summary.json                                               accuracies, test images included
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nat_deploy.export.weights import save_trained
from nat_deploy.files import write_atomically
from nat_deploy.search import ERROR, FinalistRecord, SearchResult
from nat_deploy.spaces import Architecture, SearchSpace
from nat_deploy.spaces.subnet_file import ObjectiveValue, SubnetFile, save_subnet
from nat_deploy.training.evaluate import Accuracy
from nat_deploy.training.evaluator import SupernetEvaluator
from nat_deploy.walk.request import SearchRequest, load_request

SUMMARY_FORMAT = 2
_CHOSEN, _FINALISTS = "chosen", "finalists"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundNetwork:
    """The chosen network on one data set.

    data            name of the data set
    subnet_file     its `subnet.json`, the weights beside it
    error_percent   on validation images
    test            accuracy on the test part, which no choice looked at; None where the data has none
    """

    data: str
    subnet_file: Path
    error_percent: float
    test: Accuracy | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetOrigin:
    """The search that a subnet was found by, and the error objective whose supernet its weights come from."""

    run: Path
    request: SearchRequest
    objective: str


def write_found(
    run: Path, space: SearchSpace, result: SearchResult, supernets: Mapping[str, SupernetEvaluator]
) -> tuple[FoundNetwork, ...]:
    """Write all finalists and the chosen network, test that, and sum up.

    Args:
        space: What the costs were counted and measured in.
        supernets: With the weights of the result, by the names of their error objectives.

    Returns:
        The chosen network on each data set, in their order.
    """
    for place, finalist in enumerate(result.finalists, start=1):
        for folder, objective in _folders(run / _FINALISTS / str(place), supernets):
            _write_subnet(folder, space, finalist, objective, supernets)
    architecture = decode(space, result.chosen)
    chosen = run if len(supernets) == 1 else run / _CHOSEN
    found = tuple(
        FoundNetwork(
            data=supernets[objective].data.name,
            subnet_file=_write_subnet(folder, space, result.chosen, objective, supernets),
            error_percent=error,
            test=supernets[objective].test_accuracy(architecture),
        )
        for (folder, objective), error in zip(_folders(chosen, supernets), result.chosen.errors_percent, strict=True)
    )
    _write_summary(run, result, found)
    return found


def find_origin(subnet: Path) -> SubnetOrigin | None:
    """The search in whose folder a `subnet.json` lies where `write_found` puts it; None elsewhere.

    Raises:
        FileFormatError: The request of the search is broken.
    """
    folder = subnet.absolute().parent
    for run in (folder, *folder.parents[:3]):
        if (run / "request.json").is_file():
            objective = _objective_of(folder.relative_to(run).parts)
            return None if objective is None else SubnetOrigin(run=run, request=load_request(run), objective=objective)
    return None


def decode(space: SearchSpace, finalist: FinalistRecord) -> Architecture:
    """Its architecture."""
    return space.decode(np.array(finalist.genes, dtype=np.int64))


def _objective_of(parts: tuple[str, ...]) -> str | None:
    match parts:
        case () | ("finalists", _):
            return ERROR
        case ("chosen", data) | ("finalists", _, data):
            return f"{ERROR}@{data}"
    return None


def _folders(folder: Path, supernets: Mapping[str, SupernetEvaluator]) -> Iterator[tuple[Path, str]]:
    """Where a network lies for each error objective."""
    for objective in supernets:
        yield folder / objective.partition("@")[2], objective


def _write_subnet(
    folder: Path, space: SearchSpace, finalist: FinalistRecord, objective: str, supernets: Mapping[str, SupernetEvaluator]
) -> Path:
    """`subnet.json` and `subnet.safetensors`: weights with calibrated batch norms, ready to export."""
    folder.mkdir(parents=True, exist_ok=True)
    evaluator, architecture = supernets[objective], decode(space, finalist)
    own = evaluator.supernet.space
    weights = folder / "subnet.safetensors"
    save_trained(weights, evaluator.subnet(architecture), evaluator.data)
    counts = own.count(np.array([finalist.genes], dtype=np.int64))
    latencies = tuple(_latencies(finalist))
    objectives = (
        ObjectiveValue(name=ERROR, value=finalist.errors_percent[list(supernets).index(objective)], source="measured"),
        ObjectiveValue(name="macs", value=float(counts.macs[0]), source="counted"),
        ObjectiveValue(name="num_params", value=float(counts.num_params[0]), source="counted"),
        *latencies,
    )
    provenance = {
        latency.name: f"with a classifier of {space.num_classes} classes, the most of all data sets of the search"
        for latency in latencies
        if own.num_classes != space.num_classes
    }
    path = folder / "subnet.json"
    subnet = SubnetFile(
        architecture=architecture, num_classes=own.num_classes, weights=weights, objectives=objectives, provenance=provenance
    )
    save_subnet(path, subnet)
    return path


def _latencies(finalist: FinalistRecord) -> Iterator[ObjectiveValue]:
    for m in finalist.latencies:
        yield ObjectiveValue(
            name=m.objective, value=m.median_ms, low=m.low_ms, high=m.high_ms, source="measured", target=m.target
        )
    for p in finalist.predicted:
        yield ObjectiveValue(
            name=p.objective,
            value=p.predicted_ms,
            low=p.predicted_low_ms,
            high=p.predicted_high_ms,
            source="predicted",
            target=p.target,
        )


def _write_summary(run: Path, result: SearchResult, found: tuple[FoundNetwork, ...]) -> None:
    summary = {
        "format": SUMMARY_FORMAT,
        "data_sets": [
            {
                "name": network.data,
                "validation_error_percent": network.error_percent,
                "test_top1_percent": None if network.test is None else network.test.top1_percent,
                "test_images": None if network.test is None else network.test.num_images,
            }
            for network in found
        ],
        "finalists": [asdict(finalist) for finalist in result.finalists],
    }
    write_atomically(run / "summary.json", json.dumps(summary, indent=1))
