"""Whether a latency can be in ms: a slip of the unit is a factor of 1,000, and a graph says how much it computes."""

from collections.abc import Sequence

from nat_deploy.errors import InputError
from nat_deploy.spaces import Block, count_macs

_LEAST_MS = 0.0003  # no runtime answers a call in less
_MOST_CALL_MS = 10.0  # what a call may cost beside the computing
_FASTEST_MACS_PER_MS = 3e9  # of one image at a time; the largest GPUs come near it
_FASTEST_BATCHED_MACS_PER_MS = 5e10
_SLOWEST_MACS_PER_MS = 5e4  # a single slow core


def plausible_range_ms(blocks: Sequence[Block], *, batch_size: int) -> tuple[float, float]:
    """What a graph can take on any device, in ms of one batch; no blocks are a graph that does nothing."""
    macs = batch_size * sum(count_macs(block) for block in blocks)
    fastest = min(batch_size * _FASTEST_MACS_PER_MS, _FASTEST_BATCHED_MACS_PER_MS)
    return max(_LEAST_MS, macs / fastest), _MOST_CALL_MS + macs / _SLOWEST_MACS_PER_MS


def check_plausible(name: str, ms: float, blocks: Sequence[Block], *, batch_size: int) -> None:
    """Refuse a latency that no device has.

    Raises:
        InputError: It is too short or too long for what the graph computes; the sentence names the unit that it may be in.
    """
    low, high = plausible_range_ms(blocks, batch_size=batch_size)
    if not low <= ms <= high:
        unit = "seconds" if ms < low else "microseconds"
        raise InputError(
            f"latencies must be in ms of one batch, but {ms:g} ms came for {name}, where {low:.2g} to {high:.2g} ms are possible; "
            f"if these are {unit}, convert them"
        )
