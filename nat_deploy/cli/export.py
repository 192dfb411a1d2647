from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._options import Json, Subnet


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
    format: Annotated[
        list[str] | None,
        typer.Option(help="onnx (default), openvino, executorch, litert, trt or trt-rtx; may be given several times."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="Device that builds a trt engine; by default this machine's GPU. May be given several times."),
    ] = None,
    compute_capability: Annotated[
        list[str] | None, typer.Option(help="GPU that a trt-rtx engine is for, as 8.6; may be given several times.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Batch size of an engine; by default the device's.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, or where several are asked for their folder; by default beside the subnet."),
    ] = None,
    precision: Annotated[
        list[PrecisionName] | None,
        typer.Option(
            help="In which numbers the model computes: fp32 (default), fp16 or int8, which needs --calibrate. May be given several times."
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Cut the weights out of this supernet file.")] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(help="Compute batch-norm statistics, and the ranges of int8, on the training images of this data set."),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(help="Most points of accuracy that int8 may cost on validation images; layers stay in float for it.")
    ] = 1.0,
    qat_epochs: Annotated[
        int,
        typer.Option(
            min=0, help="Where int8 would leave layers in float: train in int8 for so many epochs, and keep what is better."
        ),
    ] = 0,
    runtime: Annotated[Int8Runtime, typer.Option(help="Who will run an int8 model.")] = Int8Runtime.onnxruntime,
    preprocessing: Annotated[
        bool, typer.Option("--preprocessing", help="Take pixels, uint8 (batch, height, width, RGB), and normalise them inside.")
    ] = False,
    json: Json = False,
) -> None:
    """Export a subnet; its outputs are compared with the network's, and nothing is kept if they differ.

    Several formats, precisions and devices give a file for each combination. One that fails does not stop the others.
    """
    from nat_deploy.cli._exports import describe, describe_table, document, document_several
    from nat_deploy.cli._output import answer, progress_bar, tell
    from nat_deploy.walk import ExportOptions, export_files

    with progress_bar() as progress:
        exported = export_files(
            subnet,
            out,
            formats=format or ("onnx",),
            precisions=[name.value for name in precision or (PrecisionName.fp32,)],
            devices=device or (),
            options=ExportOptions(
                weights=weights,
                calibrate=calibrate,
                max_drop=max_drop,
                int8_form=runtime.value,
                qat_epochs=qat_epochs,
                preprocessing=preprocessing,
                batch_size=batch_size,
                compute_capabilities=tuple(compute_capability or ()),
            ),
            on_step=progress.update,
        )
    if len(exported) == 1 and exported[0].report is not None:
        report = exported[0].report
        answer(describe(report, qat_epochs=qat_epochs), document(report), as_json=json)
        return
    answer(describe_table(exported), document_several(exported), as_json=json)
    for one in exported:
        if one.error is not None:
            tell(f"natdeploy: {one.file}: {one.error}")
    if any(one.error is not None for one in exported):
        raise typer.Exit(1)
