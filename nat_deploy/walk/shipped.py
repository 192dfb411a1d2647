"""The supernet that comes with the package."""

from pathlib import Path

from nat_deploy.errors import MissingError

WEIGHTS_FOLDER = Path(__file__).parents[1] / "weights"
SHIPPED_SPACE = "ofa-mbv3-w0.5"
SHIPPED_RESOLUTIONS = (32, 40, 48, 56, 64)


def resolutions_of(space: str) -> tuple[int, ...] | None:
    """Image sizes in pixels to measure a space at, unless told otherwise: what its shipped weights were trained for, or None."""
    return SHIPPED_RESOLUTIONS if space == SHIPPED_SPACE else None


def shipped_supernet() -> Path:
    """The file of the pretrained supernet.

    Raises:
        MissingError: The installation lacks it.
    """
    path = WEIGHTS_FOLDER / f"{SHIPPED_SPACE}.tiny-imagenet.safetensors"
    if not path.is_file():
        raise MissingError(
            f"the shipped supernet must be at '{path}', but it is not; install natdeploy again, or give --supernet FILE"
        )
    return path
