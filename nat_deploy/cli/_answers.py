"""How the result of a search is told."""

from dataclasses import asdict

from nat_deploy.walk import SearchAnswer


def describe_answer(found: SearchAnswer) -> str:
    """For people: the chosen network first, then the other finalists."""
    lines = []
    for place, finalist in enumerate(found.result.finalists, start=1):
        latency = ", ".join(
            f"{record.median_ms:.3f} ms measured ({record.low_ms:.3f} to {record.high_ms:.3f}; predicted {record.predicted_ms:.3f})"
            for record in finalist.latencies
        )
        lines.append(f"{place}. {100 - finalist.error_percent:.2f} % on validation images, {latency}")
    test = (
        "the data has no test part"
        if found.test is None
        else f"{found.test.top1_percent:.2f} % on {found.test.num_images} test images"
    )
    return "\n".join(
        [
            f"within {', '.join(map(str, found.budgets))} on {found.latency.table.target.key}:",
            *lines,
            f"chosen: the first; {test}",
            f"{found.subnet_file}",
            f"next: natdeploy export {found.subnet_file} --format onnx, natdeploy report {found.run}",
        ]
    )


def document_answer(found: SearchAnswer) -> dict[str, object]:
    """For programs."""
    return {
        "run": str(found.run),
        "subnet": str(found.subnet_file),
        "target": found.latency.table.target.key,
        "budgets": [{"objective": budget.objective, "upper": budget.upper} for budget in found.budgets],
        "validation_top1_percent": 100 - found.chosen.error_percent,
        "test_top1_percent": None if found.test is None else found.test.top1_percent,
        "finalists": [asdict(finalist) for finalist in found.result.finalists],
    }
