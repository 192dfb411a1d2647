from pathlib import Path
from typing import Annotated

import typer

from nat_deploy.cli._options import Json, parse_resolutions


def import_weights(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Once-for-all checkpoint (.pth) or safetensors file; one for each width of the space."
        ),
    ],
    space: Annotated[str, typer.Option(help="Search space that the weights belong to, for example ofa-mbv3-w1.0.")],
    out: Annotated[Path, typer.Option(help="Supernet file to write.")],
    classes: Annotated[int, typer.Option(min=2, help="Number of classes of the checkpoint.")] = 1000,
    resolutions: Annotated[str, typer.Option(help="Image sizes that the weights were trained for.")] = "128-224:4",
    json: Json = False,
) -> None:
    """Turn an Once-for-all checkpoint into a supernet file; every name and shape must fit."""
    from nat_deploy.cli._output import answer
    from nat_deploy.spaces import make_space
    from nat_deploy.supernets import save_supernet
    from nat_deploy.supernets.ofa_checkpoint import import_supernets

    found = make_space(space, resolutions=parse_resolutions(resolutions), num_classes=classes)
    supernet = import_supernets(files, found)
    class_names = tuple(f"class {index}" for index in range(classes))
    save_supernet(out, supernet, class_names=class_names, trained_on=", ".join(file.name for file in files))
    num_params = sum(parameter.numel() for parameter in supernet.parameters())
    answer(
        f"{out}: {space}, {num_params / 1e6:.2f} M parameters, {classes} classes",
        {"supernet": str(out), "space": space, "num_params": num_params, "num_classes": classes},
        as_json=json,
    )
