"""The part of `natdeploy export` that makes engines."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nat_deploy.cli._output import answer, tell

if TYPE_CHECKING:
    from nat_deploy.export import ExportReport


def export_as_engine(
    to_onnx: Callable[[Path], "ExportReport"],
    out: Path,
    *,
    format: str,
    device_name: str | None,
    precision: str,
    batch_size: int | None,
    compute_capabilities: Sequence[str],
    as_json: bool,
) -> None:
    """Export to ONNX in a folder of its own, build the engine where it belongs, and tell about it."""
    from nat_deploy.export import check_engine_can_be_built, engine_device, export_engine
    from nat_deploy.profiling import open_device

    device = engine_device(format, device_name)
    transport = open_device(device)
    check_engine_can_be_built(format, device, transport)
    with tempfile.TemporaryDirectory(prefix="natdeploy-") as folder:
        exported = to_onnx(Path(folder) / "subnet.onnx")
        tell(f"building the engine on {device.name} ...")
        report = export_engine(
            exported,
            out,
            format=format,
            device=device,
            precision=precision,
            batch_size=batch_size,
            compute_capabilities=compute_capabilities,
            transport=transport,
        )
    engine, parity = report.sidecar.engine, report.sidecar.parity
    assert engine is not None
    gpus = engine.gpu or (
        f"compute capability {', '.join(engine.compute_capabilities)}" if engine.compute_capabilities else "Ampere and newer"
    )
    what = "its outputs" if report.was_run else "there is no GPU here to run it; outputs of the ONNX model it was built from"
    text = (
        f"{report.engine}: {engine.runtime} {engine.runtime_version} for {gpus}, {engine.precision}, batches of {engine.batch_size}, "
        f"{engine.num_bytes / 1e6:.2f} MB, built in {engine.build_s:.1f} s; {what} differ by {parity.relative_error:.1e} at most "
        f"(relative, allowed {parity.tolerance:.0e})\n{report.sidecar_file}"
    )
    document = {
        "model": str(report.engine),
        "sidecar": str(report.sidecar_file),
        "engine": engine.to_json(),
        "was_run": report.was_run,
        "parity": asdict(parity),
    }
    answer(text, document, as_json=as_json)
