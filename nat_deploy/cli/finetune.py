from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nat_deploy.cli._options import Json, Subnet, TrainOn

if TYPE_CHECKING:
    from nat_deploy.walk import FinetuneAnswer


def finetune(
    subnet: Subnet,
    data: Annotated[
        str | None,
        typer.Option(help="Data set by name, or a folder with one folder of images per class; by default that of the search."),
    ] = None,
    supernet: Annotated[
        Path | None,
        typer.Option(
            help="Supernet file whose largest subnet teaches, and that weights are cut out of where the subnet names none; "
            "by default the search's."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs of each of the two stages.")] = 30,
    learning_rate: Annotated[float, typer.Option(help="The largest one, of AdamW.")] = 5e-4,
    seed: Annotated[int, typer.Option(help="Of all randomness; outside a search also of the division into parts.")] = 0,
    train_on: TrainOn = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder to write; by default finetuned/ beside the subnet.")] = None,
    json: Json = False,
) -> None:
    """Train a subnet further; its old weights are kept where that does not make it better on validation images.

    The first stage learns from training images, and validation images say for how long; the second begins anew and learns from both.
    A call that was broken off goes on when it is made again.
    """
    from nat_deploy.cli._output import answer, progress_bar
    from nat_deploy.training.finetune import FinetuneEpoch, FinetuneSettings
    from nat_deploy.walk import FinetuneListener, finetune_network

    with progress_bar() as progress:

        def on_epoch(epoch: FinetuneEpoch) -> None:
            stage = "training on all images" if epoch.validation is None else "training on training images"
            note = "" if epoch.validation is None else f"{epoch.validation.accuracy.top1_percent:.2f} %"
            progress.update(stage, epoch.epoch, epoch.epochs, note)

        found = finetune_network(
            subnet,
            out or subnet.parent / "finetuned",
            data=data,
            supernet=supernet,
            settings=FinetuneSettings(epochs=epochs, learning_rate=learning_rate, seed=seed),
            train_on=train_on,
            listener=FinetuneListener(on_decode=progress.on_decode, on_epoch=on_epoch),
        )
    answer(_describe(found), _document(found), as_json=json)


def _describe(found: "FinetuneAnswer") -> str:
    result = found.result
    after = "nothing finite" if result.after is None else f"{result.after.accuracy.top1_percent:.2f} %"
    lines = [
        f"{result.before.accuracy.top1_percent:.2f} -> {after} on {result.before.accuracy.num_images} validation images, "
        f"after {result.num_epochs} epochs"
    ]
    if not result.is_better:
        lines.append("not better: the old weights are kept")
    elif found.test_before is not None and found.test_after is not None:
        lines.append(
            f"{found.test_before.top1_percent:.2f} -> {found.test_after.top1_percent:.2f} % on {found.test_after.num_images} test images"
        )
    if found.teacher is None:
        lines.append("no supernet taught it; one would, with --supernet FILE or a subnet in the folder of its search")
    return "\n".join([*lines, f"{found.subnet_file}", f"next: natdeploy export {found.subnet_file} --format onnx"])


def _document(found: "FinetuneAnswer") -> dict[str, object]:
    result, before, after = found.result, found.test_before, found.test_after
    return {
        "subnet": str(found.subnet_file),
        "is_better": result.is_better,
        "epochs": result.num_epochs,
        "trained_on_validation": result.is_final,
        "is_recalibrated": result.is_recalibrated,
        "teacher": found.teacher,
        "validation_images": result.before.accuracy.num_images,
        "validation_top1_percent": {
            "before": result.before.accuracy.top1_percent,
            "after": None if result.after is None else result.after.accuracy.top1_percent,
        },
        "test_top1_percent": {
            "before": None if before is None else before.top1_percent,
            "after": None if after is None else after.top1_percent,
        },
    }
