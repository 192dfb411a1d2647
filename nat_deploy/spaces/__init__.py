"""What can be chosen: architectures, their blocks and costs. No torch in here."""

from nat_deploy.errors import ArchitectureError
from nat_deploy.spaces.architecture import Architecture
from nat_deploy.spaces.block import Block, count_macs, count_params, count_peak_activation_bytes
from nat_deploy.spaces.block_places import BlockPlaces
from nat_deploy.spaces.mbconv_space import MBConvSpace
from nat_deploy.spaces.ofa_mbv3 import WIDTHS, OfaMobileNetV3Space
from nat_deploy.spaces.ofa_proxyless import OfaProxylessSpace
from nat_deploy.spaces.ofa_resnet50 import OfaResNet50Space
from nat_deploy.spaces.resolutions import PHOTOGRAPH_RESOLUTIONS, SMALL_IMAGE_RESOLUTIONS
from nat_deploy.spaces.space import Counts, Genes, Place, Sampling, SearchSpace

SPACE_NAMES = (*(f"ofa-mbv3-w{width}" for width in WIDTHS), "ofa-proxyless-w1.3", "ofa-resnet50")


def make_space(name: str, *, resolutions: tuple[int, ...] | None = None, num_classes: int = 1000) -> SearchSpace:
    """The search space of that name.

    Args:
        name: One of `SPACE_NAMES`.
        resolutions: Rising image sizes in pixels; by default 128 to 256 in steps of 4.
        num_classes: Outputs of the classifier.

    Raises:
        ArchitectureError: The name is unknown, or a value is outside what a space can be.
    """
    if name == "ofa-resnet50":
        return OfaResNet50Space(resolutions or PHOTOGRAPH_RESOLUTIONS, num_classes)
    match name.rpartition("-w"):
        case ("ofa-mbv3", _, width) if name in SPACE_NAMES:
            return OfaMobileNetV3Space(float(width), resolutions or PHOTOGRAPH_RESOLUTIONS, num_classes)
        case ("ofa-proxyless", _, width) if name in SPACE_NAMES:
            return OfaProxylessSpace(float(width), resolutions or PHOTOGRAPH_RESOLUTIONS, num_classes)
        case _:
            raise ArchitectureError(f"space must be one of {', '.join(SPACE_NAMES)}, but it is '{name}'; choose one of these")


__all__ = [
    "PHOTOGRAPH_RESOLUTIONS",
    "SMALL_IMAGE_RESOLUTIONS",
    "SPACE_NAMES",
    "WIDTHS",
    "Architecture",
    "Block",
    "BlockPlaces",
    "Counts",
    "Genes",
    "MBConvSpace",
    "OfaMobileNetV3Space",
    "OfaProxylessSpace",
    "OfaResNet50Space",
    "Place",
    "Sampling",
    "SearchSpace",
    "count_macs",
    "count_params",
    "count_peak_activation_bytes",
    "make_space",
]
