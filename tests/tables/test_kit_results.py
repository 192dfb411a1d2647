"""Results that come back from a kit: each belongs to one of its files, is in ms, and is read whole or not at all."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import FileFormatError, InputError, MissingError, NatDeployError
from nat_deploy.predictors.latency import BlockSumPredictor, make_card, predictor_from_table
from nat_deploy.spaces import Architecture
from nat_deploy.tables import (
    Kit,
    Origin,
    check_kit_files,
    import_kit,
    load_manifest,
    measured_space,
    read_profiled_results,
    read_written_results,
)
from profilers.results import Failure, ResultsWriter, read_results
from tests.predictors.synthetic_device import TARGET
from tests.tables.small_kit import PHONE, SPACE, fill_in, make_kit, measure, true_ms


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kits") / "kit"
    make_kit(folder)
    return folder


@pytest.fixture(scope="module")
def kit(folder: Path) -> Kit:
    return load_manifest(folder)


@pytest.fixture(scope="module")
def latencies(folder: Path, kit: Kit) -> dict[str, float]:
    return true_ms(folder, kit)


@pytest.fixture(scope="module")
def profiled(folder: Path) -> Path:
    return measure(folder, folder.parent / "results.jsonl")


def test_profiled_results_become_a_table(folder: Path, kit: Kit, profiled: Path, latencies: dict[str, float]) -> None:
    found = read_profiled_results(kit, profiled)
    table = found.table
    assert (found.num_missing, found.failures) == (0, ())
    assert (len(table.networks), len(table.blocks), len(table.overheads)) == (6, 12, 1)
    assert (table.target, table.provenance.source, table.num_classes) == (TARGET, "kit", 10)
    subjects = {graph.subject: latencies[graph.id] for graph in kit.graphs}
    for entry in table.networks:
        assert entry.timing.p25_ms == pytest.approx(subjects[entry.architecture], rel=0.05)
        assert not entry.timing.single
    for block in table.blocks:
        assert block.timing.p25_ms == pytest.approx(subjects[block.block], rel=0.05)


def test_written_results_become_a_table(kit: Kit, tmp_path: Path, latencies: dict[str, float]) -> None:
    found = read_written_results(kit, fill_in(tmp_path / "results.csv", latencies), PHONE)
    assert found.table.target == PHONE
    assert all(entry.timing.single for entry in (*found.table.networks, *found.table.blocks))
    assert found.table.overheads[0].timing.median_ms == latencies["overhead"]
    assert make_card(measured_space(found.table), found.table).num_networks == 6


def test_blocks_alone_predict_networks(tmp_path: Path) -> None:
    kit = make_kit(tmp_path / "kit", num_networks=6, num_blocks=60)
    latencies = true_ms(tmp_path / "kit", kit)
    of_blocks = {id: ms for id, ms in latencies.items() if not id.startswith("network")}
    found = read_written_results(kit, fill_in(tmp_path / "results.csv", of_blocks), PHONE)
    assert found.num_missing == 6
    predictor = predictor_from_table(SPACE, found.table)
    assert isinstance(predictor, BlockSumPredictor)
    networks = [(graph.id, graph.subject) for graph in kit.graphs if isinstance(graph.subject, Architecture)]
    prediction = predictor.predict(np.stack([SPACE.encode(architecture) for _, architecture in networks]))
    exact = np.array([latencies[id] for id, _ in networks])
    assert np.all((prediction.low <= exact) & (exact <= prediction.high))
    assert np.abs(prediction.value / exact - 1).max() < 0.15


def test_layer_types_that_nobody_measured_make_every_network_a_guess(
    kit: Kit, tmp_path: Path, latencies: dict[str, float]
) -> None:
    """Twelve blocks, of as many types: there are more."""
    of_blocks = {id: ms for id, ms in latencies.items() if not id.startswith("network")}
    table = read_written_results(kit, fill_in(tmp_path / "results.csv", of_blocks), PHONE).table
    predictor = predictor_from_table(SPACE, table)
    assert predictor.is_outside(SPACE.sample(np.random.default_rng(0), 50)).all()


def test_lines_without_a_number_were_not_measured(kit: Kit, tmp_path: Path, latencies: dict[str, float]) -> None:
    some = {id: ms if place < 3 else "" for place, (id, ms) in enumerate(latencies.items())}
    found = read_written_results(kit, fill_in(tmp_path / "results.csv", some), PHONE)
    assert len(found.table.networks) == 3
    assert found.num_missing == len(kit.graphs) - 3


def test_forms_as_spreadsheets_save_them(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_bytes('\ufeffid,ms\r\n"network-000", 1.5 \r\n\r\nblock-000,\r\n'.encode())
    assert read_written_results(kit, tmp_path / "results.csv", PHONE).table.networks[0].timing.median_ms == 1.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "may have been cut"),
        ("\n", "first line"),
        ("id,us\nnetwork-000,1.5\n", "must be 'id,ms', but it is 'id,us'"),
        ("id;ms\nnetwork-000;1,5\n", "must be 'id,ms', but it is 'id;ms'"),
        ("id,ms\n", "must hold at least one latency"),
        ("id,ms\nnetwork-000,\n", "must hold at least one latency"),
        ("id,ms\nnetwork-000,1,5\n", "line 2 .* it has 3 cells"),
        ("id,ms\nnetwork-000,fast\n", "positive number of ms such as 12.34, but it holds 'fast'"),
        ("id,ms\nnetwork-000,-1\n", "positive number"),
        ("id,ms\nnetwork-000,nan\n", "positive number"),
        ("id,ms\nnetwork-000,inf\n", "positive number"),
        ("id,ms\nnetwork-000,1_0\n", "positive number"),
        ("id,ms\nnetwork-999,1.5\n", "must be of graphs in the kit, but 'network-999' is not"),
        ("id,ms\nnetwork-000,1.5\nnetwork-000,1.6\n", "comes twice"),
        ("id,ms\nnetwork-000,1.5", "may have been cut"),
        ('id,ms\n"network-000,1.5\n', "comma-separated"),
    ],
)
def test_a_wrong_form_is_refused(kit: Kit, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.csv").write_text(text)
    with pytest.raises(FileFormatError, match=message):
        read_written_results(kit, tmp_path / "results.csv", PHONE)


@pytest.mark.parametrize(("scale", "unit"), [(1e-3, "seconds"), (1e3, "microseconds")])
def test_another_unit_is_refused(kit: Kit, tmp_path: Path, latencies: dict[str, float], scale: float, unit: str) -> None:
    path = fill_in(tmp_path / "results.csv", {id: scale * ms for id, ms in latencies.items()})
    with pytest.raises(InputError, match=f"must be in ms of one batch, but .* if these are {unit}, convert them"):
        read_written_results(kit, path, PHONE)


def test_another_batch_size_is_refused(kit: Kit, tmp_path: Path, latencies: dict[str, float]) -> None:
    with pytest.raises(InputError, match="must be of batch size 1, for which the kit was made, but 8 came"):
        read_written_results(kit, fill_in(tmp_path / "results.csv", latencies), replace(PHONE, batch_size=8))


def test_a_form_cut_at_any_byte_is_refused_or_read_rightly(kit: Kit, tmp_path: Path, latencies: dict[str, float]) -> None:
    whole = fill_in(tmp_path / "results.csv", latencies).read_bytes()
    graphs = {graph.subject: graph.id for graph in kit.graphs}
    for end in range(len(whole)):
        (tmp_path / "results.csv").write_bytes(whole[:end])
        try:
            table = read_written_results(kit, tmp_path / "results.csv", PHONE).table
        except NatDeployError:
            continue
        for entry in table.networks:
            assert entry.timing.median_ms == latencies[graphs[entry.architecture]]
        for block in table.blocks:
            assert block.timing.median_ms == latencies[graphs[block.block]]


def test_results_cut_anywhere_are_refused_or_read_rightly(kit: Kit, tmp_path: Path, profiled: Path) -> None:
    whole = profiled.read_bytes()
    all_timings = {entry.timing for entry in read_profiled_results(kit, profiled).table.networks}
    for end in np.random.default_rng(0).integers(0, len(whole), 40):
        (tmp_path / "results.jsonl").write_bytes(whole[:end])
        try:
            table = read_profiled_results(kit, tmp_path / "results.jsonl").table
        except FileFormatError:
            continue
        assert {entry.timing for entry in table.networks} <= all_timings


def test_a_changed_result_is_refused(kit: Kit, tmp_path: Path, profiled: Path) -> None:
    (tmp_path / "results.jsonl").write_bytes(profiled.read_bytes().replace(b'"load_ms":1.0', b'"load_ms":2.0', 1))
    with pytest.raises(FileFormatError, match="checksum"):
        read_profiled_results(kit, tmp_path / "results.jsonl")


def test_results_of_another_kit_are_refused(kit: Kit, tmp_path: Path) -> None:
    make_kit(tmp_path / "other", seed=1)
    results = measure(tmp_path / "other", tmp_path / "results.jsonl")
    with pytest.raises(
        FileFormatError, match=r"must be the file of the kit, but its SHA-256 is .* give the kit that was measured"
    ):
        read_profiled_results(kit, results)


def test_a_graph_measured_twice_is_refused(kit: Kit, tmp_path: Path, profiled: Path) -> None:
    first = profiled.read_bytes().split(b"\n")[0] + b"\n"
    (tmp_path / "results.jsonl").write_bytes(profiled.read_bytes() + first)
    with pytest.raises(FileFormatError, match="'network-000' comes twice"):
        read_profiled_results(kit, tmp_path / "results.jsonl")


@pytest.mark.parametrize(
    ("change", "message"), [({"threads": 4}, "must be of one target"), ({"runtime_version": "2"}, "must be of one target")]
)
def test_results_of_two_targets_are_refused(
    kit: Kit, tmp_path: Path, profiled: Path, change: dict[str, object], message: str
) -> None:
    rows = read_results(profiled).measurements
    path = tmp_path / "results.jsonl"
    with ResultsWriter(path, read_results(path)) as writer:
        writer.append(rows[0])
        writer.append(replace(rows[1], target=replace(rows[1].target, **change)))
    with pytest.raises(InputError, match=message):
        read_profiled_results(kit, path)


def test_what_a_device_could_not_run_is_told(kit: Kit, tmp_path: Path, profiled: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsWriter(path, read_results(path)) as writer:
        writer.append(Failure("network-001", "0" * 64, TARGET.key, "out of memory"))
        writer.append(Failure("network-000", "0" * 64, TARGET.key, "was busy"))
        writer.append(read_results(profiled).measurements[0])
    found = read_profiled_results(kit, path)
    assert found.failures == ("out of memory",)  # the other was measured at last
    assert found.num_missing == len(kit.graphs) - 1


def test_graphs_that_took_turns_share_a_sitting(kit: Kit, tmp_path: Path, profiled: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsWriter(path, read_results(path)) as writer:
        for place, row in enumerate(read_results(profiled).measurements):
            writer.append(replace(row, facts=replace(row.facts, load_average=float(place // 4), steal_share=0.01 * place)))
    table = read_profiled_results(kit, path).table
    assert [entry.sitting for entry in table.networks] == [0, 0, 0, 0, 1, 1]
    assert table.num_sittings == 5


def test_no_results_are_missing(kit: Kit, tmp_path: Path) -> None:
    for name, read in (("results.csv", lambda path: read_written_results(kit, path, PHONE)),
                       ("results.jsonl", lambda path: read_profiled_results(kit, path))):  # fmt: skip
        with pytest.raises(MissingError):
            read(tmp_path / name)


def test_a_file_of_the_kit_that_changed_is_refused(tmp_path: Path) -> None:
    kit = make_kit(tmp_path / "kit", num_networks=1, num_blocks=1)
    check_kit_files(kit, tmp_path / "kit")
    model = tmp_path / "kit" / kit.graphs[1].file
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(FileFormatError, match="its SHA-256 differs"):
        check_kit_files(kit, tmp_path / "kit")
    model.unlink()
    check_kit_files(kit, tmp_path / "kit")


class TestImports:
    """What people tell beside the files."""

    def test_a_form_needs_a_device_and_a_runtime(self, folder: Path, tmp_path: Path, latencies: dict[str, float]) -> None:
        path = fill_in(tmp_path / "results.csv", latencies)
        for origin, option in ((Origin(), "--device"), (Origin(device="phone"), "--runtime")):
            with pytest.raises(InputError, match=f"{option} is not given"):
                import_kit(folder, path, origin)
        table = import_kit(folder, path, Origin(device="phone", runtime="litert", power_mode="30w")).table
        assert table.target.key == "phone.litert-unknown.fp32.t1.30w.b1"

    def test_results_may_be_given_another_device_name(self, folder: Path, profiled: Path) -> None:
        table = import_kit(folder, profiled, Origin(device="my board")).table
        assert table.target == replace(TARGET, device="my board")

    def test_results_that_say_it_themselves_are_not_contradicted(self, folder: Path, profiled: Path) -> None:
        with pytest.raises(InputError, match="but threads was told too; leave it out"):
            import_kit(folder, profiled, Origin(threads=4))

    def test_other_files_are_refused(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"must be a .jsonl or a .csv file, but '.xlsx' came"):
            import_kit(folder, tmp_path / "results.xlsx", Origin())

    @pytest.mark.parametrize(("name", "value"), [("device", "–"), ("precision", "fp8")])
    def test_a_wrong_word_is_refused(
        self, folder: Path, tmp_path: Path, latencies: dict[str, float], name: str, value: str
    ) -> None:
        path = fill_in(tmp_path / "results.csv", latencies)
        with pytest.raises(InputError, match=name):
            import_kit(folder, path, replace(Origin(device="phone", runtime="litert"), **{name: value}))

    def test_a_changed_manifest_shows(self, tmp_path: Path) -> None:
        """Architectures of two graphs exchanged: the files still say which is which, the results too."""
        make_kit(tmp_path / "kit", num_networks=2, num_blocks=0)
        results = measure(tmp_path / "kit", tmp_path / "results.jsonl")
        path = tmp_path / "kit" / "manifest.json"
        document = json.loads(path.read_text())
        first, second = document["graphs"][:2]
        first["sha256"], second["sha256"] = second["sha256"], first["sha256"]
        path.write_text(json.dumps(document))
        with pytest.raises(FileFormatError, match="SHA-256"):
            import_kit(tmp_path / "kit", results, Origin())
