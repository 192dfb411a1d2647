"""A kit of a small space, and a device that answers it."""

from collections.abc import Mapping
from pathlib import Path

from nat_deploy.profiling import Device
from nat_deploy.spaces import make_space
from nat_deploy.tables import Kit, write_kit
from profilers.job import load_job
from profilers.target import Target
from tests.profiling.fake_transport import FakeTransport, graph_ms

SPACE = make_space("ofa-mbv3-w0.5", resolutions=(32, 48, 64), num_classes=10)
PHONE = Target(device="phone", runtime="litert", runtime_version="2.1", precision="fp32", threads=1)


def make_kit(folder: Path, *, num_networks: int = 6, num_blocks: int = 12, seed: int = 0) -> Kit:
    return write_kit(folder, SPACE, Device(name="kit"), num_networks=num_networks, num_blocks=num_blocks, seed=seed)


def measure(folder: Path, results: Path, *, target: Target | None = None) -> Path:
    """What `python3 -m profilers measure` would write."""
    transport = FakeTransport() if target is None else FakeTransport(target=target)
    transport.run_job(load_job(folder / "job.json"), results)
    return results


def true_ms(folder: Path, kit: Kit) -> dict[str, float]:
    return {graph.id: graph_ms(folder / graph.file) for graph in kit.graphs}


def fill_in(path: Path, latencies: Mapping[str, object]) -> Path:
    path.write_text("id,ms\n" + "".join(f"{id},{ms}\n" for id, ms in latencies.items()))
    return path
