"""What a sample of a GPU runtime is, and everything that would change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from profilers.errors import JobError

# Every word of a mode, the setting it speaks of and its value.
_WORDS: Mapping[str, tuple[str, object]] = {
    "latency": ("measure", "latency"),
    "throughput": ("measure", "throughput"),
    "gpu": ("measure", "gpu"),
    "graph": ("cuda_graph", True),
    "no-graph": ("cuda_graph", False),
    "transfer": ("transfers", True),
    "no-transfer": ("transfers", False),
    "spin": ("spin_wait", True),
    "block": ("spin_wait", False),
    **{f"level{level}": ("level", level) for level in range(6)},
}


@dataclass(frozen=True)
class TimingMode:
    """How an engine is run and timed; each switch is set, so that no default of a TensorRT version decides.

    Written `latency/graph/no-transfer/spin`; latencies of two modes do not compare, so the name is part of the target.
    """

    # "latency": time of the caller, who waits for each run before the next.
    # "throughput": time of the caller with one run queued ahead, so 1 / sample is runs a second.
    # "gpu": time between CUDA events around a run; the caller's part is left out.
    measure: str = "latency"
    cuda_graph: bool = True  # one launch for the whole engine instead of one for each kernel
    transfers: bool = False  # copy inputs to the GPU and outputs back in every run
    spin_wait: bool = True  # wait for the GPU in a loop, instead of letting the system wake the process
    level: int | None = None  # builder optimisation level; None is 3 where TensorRT has levels

    @property
    def name(self) -> str:
        """All settings in a fixed order, the level only where one was asked for."""
        said = asdict(self)
        return "/".join(word for word, (name, value) in _WORDS.items() if said[name] is not None and said[name] == value)

    @staticmethod
    def parse(text: str, default: TimingMode | None = None) -> TimingMode:
        """Read words joined by slashes, in any order; what is not said is as in `default`.

        Raises:
            JobError: A word is unknown, or two contradict one another.
        """
        said: dict[str, Any] = {}
        for word in text.split("/") if text else ():
            if word not in _WORDS:
                raise JobError(f"a timing mode must be made of the words {', '.join(_WORDS)}, but {word!r} came; correct it.")
            name, value = _WORDS[word]
            if said.setdefault(name, value) != value:
                raise JobError(f"a timing mode must say one thing, but {text!r} contradicts itself; remove a word.")
        return replace(default or TimingMode(), **said)
