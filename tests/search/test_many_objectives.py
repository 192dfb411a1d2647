"""A search with twelve objectives, as many as NAT's paper goes to: error, the latencies of eight devices, and three counted costs."""

from pathlib import Path

from nat_deploy.search import RunFolder, SearchSettings, run_search

from .worlds import SPACE, SyntheticDevice, SyntheticEvaluator

NUM_DEVICES = 8


def test_twelve_objectives(tmp_path: Path) -> None:
    devices = {f"latency_ms@d{number}": SyntheticDevice(slowness=1 + number) for number in range(NUM_DEVICES)}
    objectives = ("error_percent", *devices, "macs", "num_params", "peak_activation_bytes")
    assert len(objectives) == 12
    settings = SearchSettings(
        objectives=objectives,
        iterations=2,
        initial_size=30,
        archive_size=50,
        new_per_iteration=8,
        population_size=20,
        generations=5,
        surrogates=("additive",),
        finalists=2,
        probes=1,
    )
    folder = RunFolder.create(tmp_path / "run", settings, {})
    result = run_search(
        SPACE,
        SyntheticEvaluator(),
        {name: device.predictor() for name, device in devices.items()},
        {name: device.measure for name, device in devices.items()},
        folder,
    )
    assert len(result.finalists) == 2
    for finalist in result.finalists:
        assert [latency.objective for latency in finalist.latencies] == list(devices)
    iterations = folder.read_iterations()
    assert len(iterations) == 3
    assert all(0 < found.hypervolumes.after < 1 for found in iterations[1:])
    assert all(found.hypervolumes.after >= found.hypervolumes.adapted for found in iterations[1:])
