"""The Once-for-all MobileNetV3 spaces: five stages of two to four elastic MBConv blocks.

Sources: Once-for-all (Cai et al., ICLR 2020); MobileNetV3 (Howard et al., ICCV 2019).
"""

from dataclasses import dataclass
from functools import cached_property

from nat_deploy.errors import ArchitectureError
from nat_deploy.spaces.block import Activation, make_divisible
from nat_deploy.spaces.choices import check_task, listed
from nat_deploy.spaces.mbconv_space import Layout, MBConvSpace, StageLayout
from nat_deploy.spaces.resolutions import PHOTOGRAPH_RESOLUTIONS

DEPTHS = (2, 3, 4)
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.2)

_STEM_CHANNELS = 16
_STAGE_CHANNELS = (24, 40, 80, 112, 160)
_STAGE_STRIDES = (2, 2, 2, 1, 2)
_STAGE_SQUEEZES = (False, True, False, True, True)
_STAGE_ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu", "hswish", "hswish", "hswish")
_FINAL_EXPAND_CHANNELS = 960
_FEATURE_CHANNELS = 1280


@dataclass(frozen=True)
class OfaMobileNetV3Space(MBConvSpace):
    """`ofa-mbv3-w{width}` for one number of classes and one range of resolutions."""

    width: float = 1.0
    resolutions: tuple[int, ...] = PHOTOGRAPH_RESOLUTIONS
    num_classes: int = 1000

    def __post_init__(self) -> None:
        if self.width not in WIDTHS:
            raise ArchitectureError(f"width must be one of {listed(WIDTHS)}, but it is {self.width}; choose one of these")
        check_task(self.resolutions, self.num_classes)

    @property
    def name(self) -> str:
        return f"ofa-mbv3-w{self.width}"

    @cached_property
    def layout(self) -> Layout:
        channels = [make_divisible(base * self.width) for base in (_STEM_CHANNELS, *_STAGE_CHANNELS)]
        stages = tuple(
            StageLayout(
                in_channels=channels[stage],
                out_channels=channels[stage + 1],
                stride=_STAGE_STRIDES[stage],
                depths=DEPTHS,
                squeeze_excite=_STAGE_SQUEEZES[stage],
                activation=_STAGE_ACTIVATIONS[stage],
            )
            for stage in range(len(_STAGE_CHANNELS))
        )
        return Layout(
            stem_channels=channels[0],
            first_channels=channels[0],
            first_activation="relu",
            stages=stages,
            final_expand_channels=make_divisible(_FINAL_EXPAND_CHANNELS * self.width),
            feature_channels=make_divisible(_FEATURE_CHANNELS * self.width),
            activation="hswish",
        )
