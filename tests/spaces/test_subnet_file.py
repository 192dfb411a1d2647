"""Reading and writing subnets: what is published, what is ours, and whatever else a file may hold."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nat_deploy.errors import ArchitectureError, FileFormatError, MissingError, NatDeployError
from nat_deploy.spaces import SMALL_IMAGE_RESOLUTIONS, make_space
from nat_deploy.spaces.subnet_file import ObjectiveValue, SubnetFile, load_subnet, save_subnet

SPACE = make_space("ofa-mbv3-w1.0")
LATENCY = ObjectiveValue(
    name="latency_ms", value=18.4, low=18.1, high=18.7, source="measured", target="board.onnxruntime-1.23.fp32.b1"
)
MACS = ObjectiveValue(name="macs", value=222_557_600, source="counted")
SUBNET = SubnetFile(architecture=SPACE.smallest(), num_classes=10, objectives=(LATENCY, MACS))
M1 = {
    "ks": [3, 3, 3, 3, 3, 5, 5, 3, 5, 5, 5, 5, 5, 3, 3],
    "e": [3, 3, 3, 4, 4, 4, 4, 3, 4, 3, 3, 6, 6, 6, 6],
    "d": [2, 3, 3, 3, 4],
    "r": 224,
    "w": 1.0,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "subnet.json"


@pytest.fixture
def document(path: Path) -> dict[str, Any]:
    """A valid file, as plain values."""
    save_subnet(path, replace(SUBNET, weights=path.parent / "subnet.safetensors"))
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def load_text(path: Path, text: str | bytes) -> SubnetFile:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_subnet(path)


def load_document(path: Path, content: object) -> SubnetFile:
    return load_text(path, json.dumps(content))


class TestPublished:
    @pytest.mark.parametrize(
        ("file", "space", "genes", "macs", "params"),
        [
            # the resolution gene is 24 where NAT writes 08: this space starts at 128 pixels, NAT's at 192
            ("imagenet_NAT-M1", "ofa-mbv3-w1.0", "24 0 11001440551052208877", 222_557_600, 6_067_408),
            ("imagenet_NAT-M3", "ofa-mbv3-w1.2", "24 0 21105451581189759771", 482_413_168, 9_066_368),
            ("dtd_net-img-228-flops-211-top1-77.0", "ofa-mbv3-w1.0", "25 0 75003100710084005540", 210_026_432, 4_297_528),
            ("cifar100_net-img-224-flops-796-top1-88.3", "ofa-mbv3-w1.0", "24 0 97999999996996999999", 529_441_824, 7_437_152),
        ],
    )
    def test_published_networks(self, shared_data: Path, file: str, space: str, genes: str, macs: int, params: int) -> None:
        subnet = load_subnet(shared_data / "nat_subnets" / f"{file}.json")
        assert (subnet.architecture.space, subnet.num_classes, subnet.weights) == (space, 1000, None)
        encoded = subnet.space.encode(subnet.architecture)
        assert f"{encoded[0]:02} {encoded[1]} {''.join(map(str, encoded[2:]))}" == genes
        counts = subnet.space.count(encoded[None])
        assert (counts.macs[0], counts.num_params[0]) == (macs, params)

    def test_all_slots_are_the_same_network_as_active_layers(self, path: Path) -> None:
        slots: dict[str, list[int]] = {"ks": [], "e": []}
        for key, values in slots.items():
            rest = iter(M1[key])  # type: ignore[call-overload]
            for depth in M1["d"]:  # type: ignore[attr-defined]
                values += [next(rest) for _ in range(depth)] + [0] * (4 - depth)
        assert load_document(path, {**M1, **slots}) == load_document(path, M1)

    def test_twenty_active_layers_are_all_slots(self, path: Path) -> None:
        values = [3, 5, 7, 3] * 5
        subnet = load_document(path, {"ks": values, "e": [6] * 20, "d": [4] * 5, "r": 256})
        assert subnet.architecture.kernel == tuple(values)

    def test_width_may_be_missing_or_whole(self, path: Path) -> None:
        without = {key: value for key, value in M1.items() if key != "w"}
        assert load_document(path, without) == load_document(path, {**M1, "w": 1}) == load_document(path, M1)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"w": 1.1}, "w must be one of 0.35, 0.5, 0.75, 1, 1.2, but it is 1.1"),
            ({"w": None}, "w must be a valid number, but it is None"),
            ({"d": [2, 3, 3, 3]}, r"d must have 5 values \(one per stage\), but it has 4"),
            ({"d": [2, 3, 3, 3, 5]}, r"d\[4\] must be one of 2, 3, 4, but it is 5"),
            ({"d": [2, 3, 3, 3, -4]}, r"d\[4\] must be one of"),
            ({"ks": [3] * 14}, r"ks must have 15 values .* or 20 .* but it has 14"),
            ({"ks": [3] * 14 + [9]}, r"ks\[14\] must be one of 3, 5, 7, but it is 9"),
            ({"e": [3] * 14 + [5]}, r"e\[14\] must be one of 3, 4, 6, but it is 5"),
            ({"e": 3}, "e must be a valid list, but it is 3"),
            ({"e": [3.0] * 15}, r"e\.0 must be a valid integer, but it is 3\.0"),
            ({"e": [True] * 15}, r"e\.0 must be a valid integer, but it is True"),
            ({"r": 225}, r"resolution must be one of 32, 36, \.\.\., 96 or 128, 132, \.\.\., 256, but it is 225"),
            ({"format": 1}, "key must be one of ks, e, d, r, w, but it is 'format' with value 1"),
        ],
    )
    def test_refusals_name_key_value_and_choices(self, path: Path, change: dict[str, object], sentence: str) -> None:
        with pytest.raises((FileFormatError, ArchitectureError), match=f"subnet.json': {sentence}"):
            load_document(path, {**M1, **change})


class TestOurs:
    def test_reading_undoes_writing(self, path: Path) -> None:
        rng = np.random.default_rng(0)
        for genes in SPACE.sample(rng, 20):
            subnet = replace(SUBNET, architecture=SPACE.decode(genes))
            save_subnet(path, subnet)
            assert load_subnet(path) == subnet

    def test_the_document_is_as_described(self, document: dict[str, Any]) -> None:
        assert list(document) == [
            "format",
            "space",
            "resolution",
            "num_classes",
            "depth",
            "kernel",
            "expand",
            "weights",
            "objectives",
        ]
        assert document["format"] == 1
        assert document["objectives"]["latency_ms"] == {
            "value": 18.4,
            "low": 18.1,
            "high": 18.7,
            "source": "measured",
            "target": "board.onnxruntime-1.23.fp32.b1",
        }
        assert document["objectives"]["macs"] == {"value": 222_557_600, "source": "counted"}

    def test_the_resolution_chooses_the_space(self) -> None:
        assert SUBNET.space.resolutions[0] == 128
        small = make_space("ofa-mbv3-w0.5", resolutions=SMALL_IMAGE_RESOLUTIONS, num_classes=10)
        assert SubnetFile(architecture=small.largest(), num_classes=10).space == small

    def test_an_invalid_subnet_cannot_be_made(self) -> None:
        with pytest.raises(ArchitectureError, match="depth must have 5 values"):
            replace(SUBNET, architecture=replace(SPACE.smallest(), depth=(2,)))
        with pytest.raises(FileFormatError, match=r"objectives\.latency_ms\.value must be a finite number, but it is nan"):
            replace(LATENCY, value=float("nan"))

    @pytest.mark.parametrize(
        ("key", "value", "sentence"),
        [
            ("format", 2, "format must be 1, but it is 2"),
            ("format", True, "format must be 1, but it is True"),
            ("format", "1", "format must be 1, but it is '1'"),
            ("space", "ofa-mbv3-w2.0", "space must be one of ofa-mbv3-w0.35, .*'ofa-mbv3-w2.0'"),
            ("space", 5, "space must be a valid string, but it is 5"),
            ("resolution", 100, r"resolution must be one of 32, 36, \.\.\., 96 or 128, 132, \.\.\., 256, but it is 100"),
            ("resolution", 224.0, "resolution must be a valid integer, but it is 224.0"),
            ("num_classes", 1, "num_classes must be greater than or equal to 2, but it is 1"),
            ("num_classes", 10**40, r"num_classes must be less than or equal to 1000000, but it is 1000"),
            ("depth", [2, 2, 2, 2, 6], r"depth\[4\] must be one of 2, 3, 4, but it is 6"),
            ("kernel", [3] * 11, "kernel must have 10 values .* but it has 11"),
            ("expand", None, "expand must be a valid list, but it is None"),
            ("weights", "../other.safetensors", "weights must be a file in this folder .*'../other.safetensors'"),
            ("weights", "a/../../b", "weights must be a file in this folder"),
            ("weights", ".", "weights must be a file in this folder"),
            ("weights", "w\0", "weights must be a file in this folder"),
            ("weights", "", "weights must have at least 1 character"),
            ("objectives", {"latency_ms": {"source": "measured"}}, r"key objectives\.latency_ms\.value must be there"),
            (
                "objectives",
                {"t": {"value": 1, "source": "guessed"}},
                r"objectives\.t\.source must be 'measured', 'predicted' or 'counted'",
            ),
            (
                "objectives",
                {"t": {"value": "1", "source": "measured"}},
                r"objectives\.t\.value must be a valid number, but it is '1'",
            ),
            (
                "objectives",
                {"t": {"value": 1, "source": "measured", "std": 2}},
                "key must be one of value, low, high, source, target",
            ),
            ("colour", "blue", "key must be one of format, space, .* but it is 'colour' with value 'blue'"),
        ],
    )
    def test_refusals_name_key_value_and_choices(
        self, path: Path, document: dict[str, Any], key: str, value: object, sentence: str
    ) -> None:
        with pytest.raises((FileFormatError, ArchitectureError), match=f"subnet.json': {sentence}"):
            load_document(path, {**document, key: value})

    @pytest.mark.parametrize("key", ["format", "space", "resolution", "num_classes", "depth", "kernel", "expand"])
    def test_no_key_may_be_missing(self, path: Path, document: dict[str, Any], key: str) -> None:
        del document[key]
        with pytest.raises(FileFormatError, match=key):
            load_document(path, document)


class TestWeights:
    def test_weights_are_relative_to_the_file(self, path: Path, document: dict[str, Any]) -> None:
        assert document["weights"] == "subnet.safetensors"
        assert load_subnet(path).weights == path.parent / "subnet.safetensors"

    def test_a_moved_folder_keeps_its_weights(
        self, path: Path, document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        elsewhere = path.rename(tmp_path_factory.mktemp("moved") / "subnet.json")
        assert load_subnet(elsewhere).weights == elsewhere.parent / "subnet.safetensors"

    def test_weights_elsewhere_are_absolute(self, path: Path) -> None:
        weights = path.parent.parent / "supernet.safetensors"
        save_subnet(path, replace(SUBNET, weights=weights))
        assert json.loads(path.read_text())["weights"] == str(weights)
        assert load_subnet(path).weights == weights


class TestWhateverElse:
    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"\xff\xfe\x00",
            b'{"format": 1, "space": "\xe9"}',
            "[]",
            "null",
            "17",
            "{}",
            '{"a": 1}',
            "[" * 100_000,
            '{"ks":' * 50_000,
            '{"format": NaN}',
            '{"format": 1e999}',
            '{"format": -Infinity}',
            '{"format": ' + "9" * 5000 + "}",
            '{"format": 1, "format": 1}',
            '{"format": 1, "space": "\\ud800"}',
            '{"\\ud800": 1, "format": 1}',
            '{"format": 1} {"format": 1}',
            "solid ascii\nfacet normal",
        ],
    )
    def test_no_subnet(self, path: Path, text: str | bytes) -> None:
        with pytest.raises(FileFormatError, match=r"subnet\.json"):
            load_text(path, text)

    def test_no_file(self, path: Path) -> None:
        with pytest.raises(MissingError, match=r"subnet\.json' must exist"):
            load_subnet(path)
        with pytest.raises(FileFormatError, match="must be readable"):
            load_subnet(path.parent)

    def test_half_written_files_are_refused(self, path: Path, document: dict[str, Any]) -> None:
        for content in (json.dumps(document), json.dumps(M1)):
            for length in range(len(content)):
                with pytest.raises(FileFormatError):
                    load_text(path, content[:length])


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["ofa-mbv3-w1.2", "measured", "../x", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=21)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["value", "source"]), inner, max_size=4)
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    published=st.booleans(),
    key=st.text(max_size=4) | st.sampled_from([*M1, "space", "depth", "kernel", "weights", "objectives"]),
    data=st.data(),
)
def test_mutated_files_raise_nothing_but_our_errors(
    path: Path, document: dict[str, Any], published: bool, key: str, data: st.DataObject
) -> None:
    content: dict[str, Any] = json.loads(json.dumps(M1 if published else document))
    inner = content.get(key)
    if isinstance(inner, list) and data.draw(st.booleans()):
        inner[data.draw(st.integers(0, len(inner) - 1))] = data.draw(JSON_VALUES)
    elif isinstance(inner, dict) and data.draw(st.booleans()):
        inner["latency_ms"][data.draw(st.sampled_from(["value", "low", "source", "target", "more"]))] = data.draw(JSON_VALUES)
    else:
        content[key] = data.draw(JSON_VALUES)
    try:
        subnet = load_document(path, content)
    except NatDeployError as error:
        sentence = str(error)
        assert "\n" not in sentence
        sentence.encode()  # can be printed
        assert len(sentence) < 600
    else:
        subnet.space.blocks(subnet.architecture)
