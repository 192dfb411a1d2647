"""Who learns a batch together: this process alone, or several that each learn some of its parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from nat_deploy.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """`count` processes with the same weights; this is number `rank`.

    All draw the same random numbers, so they agree on images and architectures without a word; only gradients travel.
    """

    rank: int = 0
    count: int = 1
    fabric: "Fabric | None" = None

    def mine(self, parts: Sequence[T]) -> Sequence[T]:
        """Those of the parts of a batch that this process learns.

        Raises:
            InputError: The parts cannot be shared out evenly.
        """
        if len(parts) % self.count:
            raise InputError(
                f"a batch must have a multiple of {self.count} parts for {self.count} processes, but it has {len(parts)}; change the number of parts"
            )
        return parts[self.rank :: self.count]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, the same ones in every process, by their sums over all processes; they travel as one."""
        if self.fabric is None or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        summed = self.fabric.all_reduce(flat, reduce_op="sum")
        assert isinstance(summed, Tensor)
        for tensor, part in zip(tensors, torch.split(summed, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))


ALONE = Processes()


def run_in_processes(work: Callable[[Processes, torch.device], None], *, count: int, accelerator: str = "auto") -> None:
    """Run `work` in `count` new processes, one per device, through lightning-fabric; it ends when all have ended.

    Args:
        work: Can be pickled: a function of a module, or a `functools.partial` of one. Is given the process's place and device.
        accelerator: "cpu" (the processes talk through gloo), "cuda" (nccl), or "auto".

    Raises:
        InputError: lightning-fabric is not installed.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise InputError(
            "training in several processes needs lightning-fabric, but it is not installed; install it with: pip install natdeploy[train]"
        ) from error
    fabric = Fabric(accelerator=accelerator, devices=count, strategy="ddp_spawn" if count > 1 else "auto")
    fabric.launch(partial(_run, work=work))


def _run(fabric: "Fabric", work: Callable[[Processes, torch.device], None]) -> None:
    processes = Processes(rank=fabric.global_rank, count=fabric.world_size, fabric=fabric if fabric.world_size > 1 else None)
    work(processes, fabric.device)
