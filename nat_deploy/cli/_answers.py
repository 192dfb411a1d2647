"""How the result of a search is told."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from nat_deploy.profiling import Limit
from nat_deploy.search import FinalistRecord
from nat_deploy.walk import FoundNetwork, SearchAnswer


def describe_answer(found: SearchAnswer) -> str:
    """For people: the chosen network first, then the other finalists."""
    names = [network.data for network in found.networks]
    lines = [
        f"{place}. {', '.join([_validation(finalist, names), *_latencies(finalist)])}"
        for place, finalist in enumerate(found.result.finalists, start=1)
    ]
    targets = " and ".join(model.table.target.key for model in found.latency.values())
    within = f"within {', '.join(map(str, found.budgets))}" if found.budgets else "best compromise"
    return "\n".join(
        [
            f"{within} on {targets}:",
            *lines,
            *(f"chosen: the first; {_test(network, several=len(names) > 1)}" for network in found.networks),
            *(f"{network.subnet_file}" for network in found.networks),
            f"next: natdeploy export {found.subnet_file} --format onnx, natdeploy report {found.run}",
        ]
    )


def _validation(finalist: FinalistRecord, names: Sequence[str]) -> str:
    """Accuracy on validation images; of several data sets the mean, and each."""
    mean = f"{100 - finalist.error_percent:.2f} % on validation images"
    if len(names) == 1:
        return mean
    each = (f"{name} {100 - error:.2f} %" for name, error in zip(names, finalist.errors_percent, strict=True))
    return f"{mean} ({', '.join(each)})"


def _test(network: FoundNetwork, *, several: bool) -> str:
    of = f" of {network.data}" if several else ""
    if network.test is None:
        return f"the data{of} has no test part"
    return f"{network.test.top1_percent:.2f} % on {network.test.num_images} test images{of}"


def _latencies(finalist: FinalistRecord) -> Iterator[str]:
    for m in finalist.latencies:
        yield f"{_device(m.objective)}{m.median_ms:.3f} ms measured ({m.low_ms:.3f} to {m.high_ms:.3f})"
    for p in finalist.predicted:
        yield f"{_device(p.objective)}{p.predicted_ms:.3f} ms predicted ({p.predicted_low_ms:.3f} to {p.predicted_high_ms:.3f})"


def _device(objective: str) -> str:
    """The device's name before a latency, where there are several."""
    name = objective.partition("@")[2]
    return f"{name} " if name else ""


def describe_end(ended_by: Limit, mape: float | None, until_mape: float | None) -> str:
    """Which limit ended a profile, and how good the predictor is: errors on networks left out, the speed of their sitting known."""
    reason = {
        "minutes": "the time is up",
        "networks": "the networks asked for are measured",
        "mape": "the error asked for is reached",
    }[ended_by]
    if mape is None:
        return f"profiling ended: {reason}; too few networks to tell the error"
    error = f"error {100 * mape:.2f} % with the speed of the device known"
    if until_mape is not None and ended_by != "mape":
        return f"profiling ended: {reason}; {error}, not {100 * until_mape:g} %; give it more time"
    return f"profiling ended: {reason}; {error}"


def document_answer(found: SearchAnswer) -> dict[str, object]:
    """For programs; accuracies beside the data sets are their means, and the subnet is that of the first."""
    tests = [network.test for network in found.networks]
    return {
        "run": str(found.run),
        "subnet": str(found.subnet_file),
        "data_sets": [
            {
                "name": network.data,
                "subnet": str(network.subnet_file),
                "validation_top1_percent": 100 - network.error_percent,
                "test_top1_percent": None if network.test is None else network.test.top1_percent,
            }
            for network in found.networks
        ],
        "targets": {name: model.table.target.key for name, model in found.latency.items()},
        "budgets": [{"objective": budget.objective, "upper": budget.upper} for budget in found.budgets],
        "validation_top1_percent": 100 - found.chosen.error_percent,
        "test_top1_percent": None if None in tests else sum(test.top1_percent for test in tests if test) / len(tests),
        "finalists": [asdict(finalist) for finalist in found.result.finalists],
    }
