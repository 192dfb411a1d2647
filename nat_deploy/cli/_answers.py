"""How the result of a search is told."""

from collections.abc import Iterator
from dataclasses import asdict

from nat_deploy.profiling import Limit
from nat_deploy.search import FinalistRecord
from nat_deploy.walk import SearchAnswer


def describe_answer(found: SearchAnswer) -> str:
    """For people: the chosen network first, then the other finalists."""
    lines = [
        f"{place}. {100 - finalist.error_percent:.2f} % on validation images, {', '.join(_latencies(finalist))}"
        for place, finalist in enumerate(found.result.finalists, start=1)
    ]
    test = (
        "the data has no test part"
        if found.test is None
        else f"{found.test.top1_percent:.2f} % on {found.test.num_images} test images"
    )
    targets = " and ".join(model.table.target.key for model in found.latency.values())
    within = f"within {', '.join(map(str, found.budgets))}" if found.budgets else "best compromise"
    return "\n".join(
        [
            f"{within} on {targets}:",
            *lines,
            f"chosen: the first; {test}",
            f"{found.subnet_file}",
            f"next: natdeploy export {found.subnet_file} --format onnx, natdeploy report {found.run}",
        ]
    )


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
    """For programs."""
    return {
        "run": str(found.run),
        "subnet": str(found.subnet_file),
        "targets": {name: model.table.target.key for name, model in found.latency.items()},
        "budgets": [{"objective": budget.objective, "upper": budget.upper} for budget in found.budgets],
        "validation_top1_percent": 100 - found.chosen.error_percent,
        "test_top1_percent": None if found.test is None else found.test.top1_percent,
        "finalists": [asdict(finalist) for finalist in found.result.finalists],
    }
