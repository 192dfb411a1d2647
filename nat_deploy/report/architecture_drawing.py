"""An architecture drawn stage by stage: each layer a bar, as wide as it expands, as dark as its kernel is large."""

import html
from collections.abc import Iterator, Sequence
from itertools import accumulate

from nat_deploy.spaces import Architecture, Block, SearchSpace

_WIDTH = 380
_ROW = 48  # with layers
_LINE = 24  # without
_BAR = 22
_STEP = 11.5  # of width per unit of expansion
_GAP = 6


def draw_architecture(space: SearchSpace, architecture: Architecture) -> str:
    """An SVG element without a size of its own; colours are the CSS variables --kernel-3, --kernel-5, --kernel-7, --text and --muted.

    Raises:
        ArchitectureError: The architecture is not in the space.
    """
    rows = list(_rows(space, architecture))
    tops = list(accumulate((_ROW if layers else _LINE for _, layers in rows), initial=0))
    height = tops[-1] + _LINE
    shapes = [shape for top, (label, layers) in zip(tops, rows, strict=False) for shape in _row(top, label, layers)]
    shapes += _legend(tops[-1])
    described = f"Architecture with {len(architecture.kernel)} layers at {architecture.resolution} pixels"
    head = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{html.escape(described)}" class="architecture">'
    return head + "".join(shapes) + "</svg>"


def _rows(space: SearchSpace, architecture: Architecture) -> Iterator[tuple[str, Sequence[tuple[int, float]]]]:
    """Label and `(kernel, expand)` of the layers: stem, stages, head."""
    blocks = space.blocks(architecture)
    first = next(index for index, block in enumerate(blocks) if block.expanded)
    yield f"image {architecture.resolution} × {architecture.resolution} → {_shape(blocks[first - 1])}", ()
    for number, layers in enumerate(architecture.stages(), start=1):
        last = blocks[first + len(layers) - 1]
        squeeze = ", squeeze-excite" if last.se_channels else ""
        yield f"stage {number} → {_shape(last)}{squeeze}", layers
        first += len(layers)
    yield f"classifier → {blocks[-1].out_channels} classes", ()


def _shape(block: Block) -> str:
    return f"{block.out_size} × {block.out_size}, {block.out_channels} channels"


def _row(top: int, label: str, layers: Sequence[tuple[int, float]]) -> Iterator[str]:
    yield f'<text x="0" y="{top + 13}" font-size="12" fill="var(--muted)">{html.escape(label)}</text>'
    x = 0.0
    for kernel, expand in layers:
        width = _STEP * expand + 18
        yield (
            f'<rect x="{x:g}" y="{top + 18}" width="{width:g}" height="{_BAR}" rx="4" fill="var(--kernel-{kernel})"/>'
            f'<text x="{x + width / 2:g}" y="{top + 33}" font-size="12" text-anchor="middle" fill="var(--on-kernel-{kernel})">k{kernel} e{expand}</text>'
        )
        x += width + _GAP


def _legend(top: int) -> list[str]:
    text = "k: kernel size · e: expansion, also the width of the bar"
    return [f'<text x="0" y="{top + 13}" font-size="12" fill="var(--muted)">{html.escape(text)}</text>']
