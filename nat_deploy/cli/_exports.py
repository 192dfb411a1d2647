"""How exported files are told."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nat_deploy.export import EngineReport, ExportReport, QuantisationReport, TrainingReport
    from nat_deploy.walk import Exported


def describe(report: "ExportReport | EngineReport", *, qat_epochs: int) -> str:
    """For people: one file."""
    from nat_deploy.export import EngineReport

    lines = [_engine(report) if isinstance(report, EngineReport) else _model(report)]
    quantisation = report.sidecar.quantisation
    if quantisation is not None:
        lines += _quantisation(quantisation, qat_epochs)
    return "\n".join([*lines, str(report.sidecar_file)])


def describe_table(exported: Sequence["Exported"]) -> str:
    """For people: a line for each of several files."""
    rows = [("file", "MB", "differs at most", "same class", "points lost", "layers in float")]
    rows += [_row(one) for one in exported]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def document(report: "ExportReport | EngineReport") -> dict[str, object]:
    """For programs: one file."""
    from nat_deploy.export import EngineReport

    found = report.sidecar
    if isinstance(report, EngineReport):
        assert found.engine is not None
        told: dict[str, object] = {"model": str(report.engine), "sidecar": str(report.sidecar_file)}
        return told | {"engine": found.engine.to_json(), "was_run": report.was_run, "parity": asdict(found.parity)}
    return {
        "model": str(report.model),
        "sidecar": str(report.sidecar_file),
        "precision": found.precision,
        "parity": asdict(found.parity),
        "simulated_parity": None if found.simulated_parity is None else asdict(found.simulated_parity),
        "quantisation": None if found.quantisation is None else asdict(found.quantisation),
    }


def document_several(exported: Sequence["Exported"]) -> dict[str, object]:
    """For programs: what was asked for beside what came of it, in order."""
    return {
        "models": [
            {
                **asdict(one.variant),
                **({"model": None} if one.report is None else document(one.report)),
                "error": None if one.error is None else str(one.error),
            }
            for one in exported
        ]
    }


def _row(one: "Exported") -> tuple[str, str, str, str, str, str]:
    if one.report is None:
        return str(one.file), "failed", "", "", "", ""
    sidecar = one.report.sidecar
    parity, quantisation = sidecar.parity, sidecar.quantisation
    return (
        str(one.file),
        f"{sidecar.num_bytes / 1e6:.2f}",
        f"{parity.relative_error:.1e}",
        f"{parity.top1_agreement:.0%}",
        "" if quantisation is None else f"{quantisation.drop_points:+.2f}",
        "" if quantisation is None else f"{len(quantisation.float_layers)} of {quantisation.num_layers}",
    )


def _model(report: "ExportReport") -> str:
    parity = report.parity
    return (
        f"{report.model}: {report.sidecar.precision}, {report.sidecar.num_bytes / 1e6:.2f} MB; outputs of {parity.num_images} {parity.images} "
        f"images differ by {parity.median_relative_error:.1e} typically and {parity.relative_error:.1e} at most (relative), "
        f"{parity.top1_agreement:.0%} of them in the same class"
    )


def _engine(report: "EngineReport") -> str:
    engine, parity = report.sidecar.engine, report.sidecar.parity
    assert engine is not None
    gpus = engine.gpu or (
        f"compute capability {', '.join(engine.compute_capabilities)}" if engine.compute_capabilities else "Ampere and newer"
    )
    what = "its outputs" if report.was_run else "there is no GPU here to run it; outputs of the ONNX model it was built from"
    return (
        f"{report.engine}: {engine.runtime} {engine.runtime_version} for {gpus}, {engine.precision}, batches of {engine.batch_size}, "
        f"{engine.num_bytes / 1e6:.2f} MB, built in {engine.build_s:.1f} s; {what} differ by {parity.relative_error:.1e} at most "
        f"(relative, allowed {parity.tolerance:.0e})"
    )


def _quantisation(quantisation: "QuantisationReport", qat_epochs: int) -> list[str]:
    layers = quantisation.float_layers
    lines = [
        f"accuracy on {quantisation.num_validation_images} validation images {quantisation.top1_percent:.2f} %, "
        f"{quantisation.drop_points:+.2f} points lost (allowed {quantisation.max_drop:g})",
        f"{len(layers)} of {quantisation.num_layers} layers in float" + (f": {', '.join(layers)}" if layers else ""),
    ]
    if quantisation.training is not None:
        lines.append(_training(quantisation.training))
    elif qat_epochs:
        lines.append("not trained in int8: without it, no layer that may be in int8 stays in float")
    return lines


def _training(training: "TrainingReport") -> str:
    after = "nothing finite" if training.drop_after is None else f"{training.drop_after:+.2f}"
    kept = "the trained weights are exported" if training.is_kept else "the weights are exported as they were"
    return (
        f"{training.num_epochs} epochs of training in int8: with all layers in it {training.drop_before:+.2f} -> {after} points lost; "
        f"{kept}, because {training.reason}"
    )
