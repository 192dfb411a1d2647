from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._options import Json, Subnet


def export(
    subnet: Subnet,
    format: Annotated[str, typer.Option(help="onnx, trt, trt-rtx, executorch or openvino.")] = "onnx",
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
    from nat_deploy.export import export_subnet
    from nat_deploy.spaces.subnet_file import load_subnet

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
