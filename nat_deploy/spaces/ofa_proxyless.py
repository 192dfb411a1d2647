"""The Once-for-all ProxylessNAS space: six stages of elastic MBConv blocks without squeeze-excite, the last of one block.

Sources: Once-for-all (Cai et al., ICLR 2020); ProxylessNAS (Cai et al., ICLR 2019). The published weights have width 1.3.
"""

from dataclasses import dataclass
from functools import cached_property

from nat_deploy.errors import ArchitectureError
from nat_deploy.spaces.block import make_divisible
from nat_deploy.spaces.choices import check_task, listed
from nat_deploy.spaces.mbconv_space import Layout, MBConvSpace, StageLayout
from nat_deploy.spaces.resolutions import PHOTOGRAPH_RESOLUTIONS

WIDTHS = (1.3,)

_STEM_CHANNELS = 32
_FIRST_CHANNELS = 16
_STAGE_CHANNELS = (24, 40, 80, 96, 192, 320)
_STAGE_STRIDES = (2, 2, 2, 1, 2, 1)
_STAGE_DEPTHS = (*[(2, 3, 4)] * 5, (1,))
_FINAL_EXPAND_CHANNELS = 1280
_BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True)
class OfaProxylessSpace(MBConvSpace):
    """`ofa-proxyless-w{width}` for one number of classes and one range of resolutions."""

    width: float = 1.3
    resolutions: tuple[int, ...] = PHOTOGRAPH_RESOLUTIONS
    num_classes: int = 1000

    def __post_init__(self) -> None:
        if self.width not in WIDTHS:
            raise ArchitectureError(f"width must be one of {listed(WIDTHS)}, but it is {self.width}; choose one of these")
        check_task(self.resolutions, self.num_classes)

    @property
    def name(self) -> str:
        return f"ofa-proxyless-w{self.width}"

    @cached_property
    def layout(self) -> Layout:
        channels = [make_divisible(base * self.width) for base in (_FIRST_CHANNELS, *_STAGE_CHANNELS)]
        stages = tuple(
            StageLayout(
                in_channels=channels[stage],
                out_channels=channels[stage + 1],
                stride=_STAGE_STRIDES[stage],
                depths=_STAGE_DEPTHS[stage],
                squeeze_excite=False,
                activation="relu6",
            )
            for stage in range(len(_STAGE_CHANNELS))
        )
        return Layout(
            stem_channels=make_divisible(_STEM_CHANNELS * self.width),
            first_channels=channels[0],
            first_activation="relu6",
            stages=stages,
            final_expand_channels=make_divisible(_FINAL_EXPAND_CHANNELS * self.width),
            feature_channels=0,
            activation="relu6",
            batch_norm_eps=_BATCH_NORM_EPS,
        )
