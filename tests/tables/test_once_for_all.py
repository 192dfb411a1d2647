"""The published tables of Once-for-all: every key one block, every number in ms, anything else refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nat_deploy.errors import FileFormatError, InputError, MissingError
from nat_deploy.predictors.latency import BlockIndex, LatencyTable, predictor_from_table
from nat_deploy.spaces import WIDTHS, Block, make_space
from nat_deploy.tables import measured_space, read_once_for_all
from nat_deploy.tables.once_for_all import once_for_all_key
from profilers.target import Target
from tests.predictors.synthetic_device import block_ms

PHONE = Target(device="phone", runtime="tflite", runtime_version="unknown", precision="fp32", threads=1)


def write(path: Path, space: str = "ofa-mbv3-w0.5", resolution: int = 64, *, scale: float = 1.0, num_classes: int = 1000) -> Path:
    """A table as they publish it, of the synthetic device."""
    blocks = BlockIndex(make_space(space, resolutions=(resolution,), num_classes=num_classes)).blocks
    entries = sorted((once_for_all_key(block), block) for block in blocks)
    lines = [
        f"{key}:\n  count: 100\n  mean: {scale * block_ms(block):.12f}\n  std: {scale * 0.01:.12f}\n" for key, block in entries
    ]
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("name", [f"ofa-mbv3-w{width}" for width in WIDTHS])
def test_different_blocks_have_different_keys(name: str) -> None:
    blocks = BlockIndex(make_space(name, resolutions=(128, 160, 224))).blocks
    assert len({once_for_all_key(block) for block in blocks}) == len(blocks)


@pytest.mark.parametrize("name", [f"ofa-mbv3-w{width}" for width in WIDTHS])
def test_the_space_is_found_by_its_blocks(tmp_path: Path, name: str) -> None:
    table = read_once_for_all([write(tmp_path / "64.yaml", name)], PHONE)
    assert table.space == name
    assert {entry.block for entry in table.blocks} == set(BlockIndex(make_space(name, resolutions=(64,))).blocks)
    assert all(entry.timing.median_ms == pytest.approx(block_ms(entry.block)) for entry in table.blocks)


def test_keys_by_hand() -> None:
    stem = Block(kind="conv", in_channels=3, out_channels=24, in_size=160, kernel_size=3, stride=2, activation="hswish")
    assert once_for_all_key(stem) == "Conv-input:160x160x3-output:80x80x24"
    layer = Block(
        kind="mbconv", in_channels=136, mid_channels=408, out_channels=192, in_size=10, kernel_size=3, stride=2,
        se_channels=104, expanded=True, activation="hswish",
    )  # fmt: skip
    assert (
        once_for_all_key(layer) == "expanded_conv-input:10x10x136-output:5x5x192-expand:408-kernel:3-stride:2-idskip:0-se:1-hs:1"
    )


def test_several_resolutions_are_sittings_of_one_table(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{size}.yaml", resolution=size) for size in (64, 96)]
    table = read_once_for_all(files, PHONE)
    assert table.num_sittings == 2
    assert measured_space(table).resolutions == (64, 96)
    assert (table.provenance.source, table.facts, table.networks) == ("once-for-all", None, ())
    assert all(entry.timing.single and entry.timing.num_runs == 100 for entry in table.blocks)


def test_other_classes_are_read(tmp_path: Path) -> None:
    assert read_once_for_all([write(tmp_path / "64.yaml", num_classes=10)], PHONE).num_classes == 10


@pytest.mark.parametrize(("scale", "unit"), [(1e-3, "seconds"), (1e3, "microseconds")])
def test_another_unit_is_refused(tmp_path: Path, scale: float, unit: str) -> None:
    with pytest.raises(InputError, match=f"must be in ms of one batch.*if these are {unit}"):
        read_once_for_all([write(tmp_path / "224.yaml", "ofa-mbv3-w1.2", 224, scale=scale)], PHONE)


def test_files_of_different_classes_do_not_mix(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.yaml"), write(tmp_path / "b.yaml", num_classes=10)]
    with pytest.raises(InputError, match="must agree on the number of classes, but 10, 1000 came"):
        read_once_for_all(files, PHONE)


def test_files_of_different_spaces_do_not_mix(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.yaml"), write(tmp_path / "b.yaml", "ofa-mbv3-w1.2")]
    with pytest.raises(FileFormatError, match=r"b.yaml' must hold blocks of ofa-mbv3-w0.5 at 64 pixels"):
        read_once_for_all(files, PHONE)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "64.yaml")
    path.write_text(path.read_text() + "Conv_9-input:1x1x1-output:2:\n  count: 1\n  mean: 1.0\n  std: 0.0\n")
    with pytest.raises(FileFormatError, match="'Conv_9-input:1x1x1-output:2' is none"):
        read_once_for_all([path], PHONE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "may have been cut"),
        ("\n", "must follow the format"),
        ("{}\n", "must hold latencies of blocks"),
        ("- 1\n", "must follow the format"),
        ("a: [\n", "must be YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "must be YAML"),
        ("a: &a {count: 1, mean: 1.0, std: 0.0}\na: *a\n", "a key is there twice"),
        ("a: {count: 1, mean: 1.0, std: 0.0}\n", "must hold the first convolution"),
        ("Conv-input:64x64x3-output:32x32x8: {count: 1, mean: -1.0, std: 0.0}\n", "greater than 0"),
        ("Conv-input:64x64x3-output:32x32x8: {count: 1, mean: 1.0}\n", "field required"),
        ("Conv-input:64x64x3-output:32x32x8: {count: 1, mean: '1', std: 0.0}\n", "valid number"),
        ("Conv-input:64x64x3-output:32x32x8: {count: 1, mean: .nan, std: 0.0}\n", "finite number"),
        ("Conv-input:9999x9999x3-output:32x32x8: {count: 1, mean: 1.0, std: 0.0}\n", "32 to 1024 pixels"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=message):
        read_once_for_all([path], PHONE)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "table.yaml").write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(FileFormatError, match="must be readable UTF-8 text"):
        read_once_for_all([tmp_path / "table.yaml"], PHONE)
    with pytest.raises(FileFormatError, match="must be readable"):
        read_once_for_all([tmp_path], PHONE)
    with pytest.raises(MissingError):
        read_once_for_all([tmp_path / "none.yaml"], PHONE)
    with pytest.raises(InputError, match="at least one file"):
        read_once_for_all([], PHONE)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_a_file_cut_anywhere_is_refused_or_read_rightly(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "64.yaml")
    whole = {entry.block: entry.timing for entry in read_once_for_all([path], PHONE).blocks}
    text = path.read_bytes()
    path.write_bytes(text[: int(share * len(text))])
    try:
        table = read_once_for_all([path], PHONE)
    except FileFormatError:
        return
    assert all(whole[entry.block] == entry.timing for entry in table.blocks)
    assert len(table.blocks) == len(whole) or any(warning.startswith("missing_blocks") for warning in table.warnings)


@pytest.fixture(scope="module")
def note10(shared_data: Path) -> LatencyTable:
    return read_once_for_all(sorted((shared_data / "note10").glob("*.yaml")), PHONE)


def test_the_note10_has_every_block_of_its_space(note10: LatencyTable) -> None:
    space = make_space("ofa-mbv3-w1.2", resolutions=(160, 176, 192, 208, 224))
    assert note10.space == space.name
    assert len(note10.blocks) == 5 * 96
    assert {entry.block for entry in note10.blocks} == set(BlockIndex(space).blocks)
    assert not any(warning.startswith("missing") for warning in note10.warnings)


def test_the_note10_gives_the_latencies_that_were_published_with_it(note10: LatencyTable) -> None:
    """Networks found for this phone, by MACs and latency in ms: the fastest of random ones of that size come near, as they must
    if blocks and units are right."""
    space = measured_space(note10)
    genes = space.sample(np.random.default_rng(0), 2000, sampling="uniform")
    macs, ms = space.count(genes).macs / 1e6, predictor_from_table(space, note10).predict(genes).value
    for published_macs, published_ms in ((554, 50), (457, 41), (339, 30), (237, 22)):
        assert ms[np.abs(macs - published_macs) < 20].min() == pytest.approx(published_ms, rel=0.05)
