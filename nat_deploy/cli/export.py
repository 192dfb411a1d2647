from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._engine import export_as_engine
from nat_deploy.cli._options import Json, Subnet


def export(
    subnet: Subnet,
    format: Annotated[str, typer.Option(help="onnx, trt, trt-rtx, executorch or openvino.")] = "onnx",
    device: Annotated[str | None, typer.Option(help="Device that builds a trt engine; by default this machine's GPU.")] = None,
    compute_capability: Annotated[
        list[str] | None, typer.Option(help="GPU that a trt-rtx engine is for, as 8.6; may be given several times.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Batch size of an engine; by default the device's.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; by default beside the subnet.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Cut the weights out of this supernet file.")] = None,
    calibrate: Annotated[
        str | None, typer.Option(help="Recompute batch-norm statistics on the training images of this data set.")
    ] = None,
    json: Json = False,
) -> None:
    """Export a subnet; its outputs are compared with the network's, and nothing is kept if they differ."""
    from dataclasses import asdict

    from nat_deploy.cli._output import answer
    from nat_deploy.export import ENGINE_FORMATS, check_format, export_subnet
    from nat_deploy.spaces.subnet_file import load_subnet

    check_format(format)
    if format in ENGINE_FORMATS:
        export_as_engine(
            lambda path: export_subnet(load_subnet(subnet), path, weights=weights, calibrate=calibrate),
            out or subnet.with_suffix(".engine"),
            format=format,
            device_name=device,
            precision="fp32",
            batch_size=batch_size,
            compute_capabilities=compute_capability or (),
            as_json=json,
        )
        return
    report = export_subnet(
        load_subnet(subnet), out or subnet.with_suffix(".onnx"), format=format, weights=weights, calibrate=calibrate
    )
    parity = report.parity
    text = (
        f"{report.model}: {report.sidecar.num_bytes / 1e6:.2f} MB; outputs of {parity.num_images} {parity.images} images differ by "
        f"{parity.relative_error:.1e} at most (relative, allowed {parity.tolerance:.0e})\n{report.sidecar_file}"
    )
    document = {"model": str(report.model), "sidecar": str(report.sidecar_file), "parity": asdict(parity)}
    answer(text, document, as_json=json)
