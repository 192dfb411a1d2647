from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nat_deploy.cli._engine import export_as_engine
from nat_deploy.cli._options import Json, Subnet

if TYPE_CHECKING:
    from nat_deploy.export import QuantisationReport


class PrecisionName(StrEnum):
    """In which numbers the model computes."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class Int8Runtime(StrEnum):
    """Whose rules an int8 model keeps."""

    onnxruntime = "onnxruntime"
    tensorrt = "tensorrt"


def export(
    subnet: Subnet,
    format: Annotated[str, typer.Option(help="onnx, openvino, executorch, litert, trt or trt-rtx.")] = "onnx",
    device: Annotated[str | None, typer.Option(help="Device that builds a trt engine; by default this machine's GPU.")] = None,
    compute_capability: Annotated[
        list[str] | None, typer.Option(help="GPU that a trt-rtx engine is for, as 8.6; may be given several times.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Batch size of an engine; by default the device's.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; by default beside the subnet.")] = None,
    precision: Annotated[
        PrecisionName, typer.Option(help="In which numbers the model computes; int8 needs --calibrate.")
    ] = PrecisionName.fp32,
    weights: Annotated[Path | None, typer.Option(help="Cut the weights out of this supernet file.")] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(help="Compute batch-norm statistics, and the ranges of int8, on the training images of this data set."),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(help="Most points of accuracy that int8 may cost on validation images; layers stay in float for it.")
    ] = 1.0,
    runtime: Annotated[Int8Runtime, typer.Option(help="Who will run an int8 model.")] = Int8Runtime.onnxruntime,
    preprocessing: Annotated[
        bool, typer.Option("--preprocessing", help="Take pixels, uint8 (batch, height, width, RGB), and normalise them inside.")
    ] = False,
    json: Json = False,
) -> None:
    """Export a subnet; its outputs are compared with the network's, and nothing is kept if they differ."""
    from dataclasses import asdict

    from nat_deploy.cli._output import answer, progress_bar
    from nat_deploy.export import ENGINE_FORMATS, check_format, export_subnet, find_format
    from nat_deploy.spaces.subnet_file import load_subnet

    check_format(format)
    if format in ENGINE_FORMATS:
        export_as_engine(
            lambda path: export_subnet(
                load_subnet(subnet),
                path,
                precision=precision.value,
                weights=weights,
                calibrate=calibrate,
                max_drop=max_drop,
                int8_form="tensorrt",
                preprocessing=preprocessing,
            ),
            out or subnet.with_suffix(".engine"),
            format=format,
            device_name=device,
            precision=precision.value,
            batch_size=batch_size,
            compute_capabilities=compute_capability or (),
            as_json=json,
        )
        return
    with progress_bar() as progress:
        report = export_subnet(
            load_subnet(subnet),
            out or subnet.with_suffix(find_format(format).suffixes[0]),
            format=format,
            precision=precision.value,
            weights=weights,
            calibrate=calibrate,
            max_drop=max_drop,
            int8_form=runtime.value,
            preprocessing=preprocessing,
            on_step=progress.update,
        )
    parity, quantisation = report.parity, report.sidecar.quantisation
    lines = [
        f"{report.model}: {precision.value}, {report.sidecar.num_bytes / 1e6:.2f} MB; outputs of {parity.num_images} {parity.images} "
        f"images differ by {parity.median_relative_error:.1e} typically and {parity.relative_error:.1e} at most (relative), "
        f"{parity.top1_agreement:.0%} of them in the same class",
    ]
    if quantisation is not None:
        lines += _describe(quantisation)
    document = {
        "model": str(report.model),
        "sidecar": str(report.sidecar_file),
        "precision": precision.value,
        "parity": asdict(parity),
        "quantisation": None if quantisation is None else asdict(quantisation),
    }
    answer("\n".join([*lines, str(report.sidecar_file)]), document, as_json=json)


def _describe(quantisation: "QuantisationReport") -> list[str]:
    lost = (
        f"accuracy on {quantisation.num_validation_images} validation images {quantisation.top1_percent:.2f} %, "
        f"{quantisation.drop_points:+.2f} points lost (allowed {quantisation.max_drop:g})"
    )
    layers = quantisation.float_layers
    return [lost, f"{len(layers)} of {quantisation.num_layers} layers in float" + (f": {', '.join(layers)}" if layers else "")]
