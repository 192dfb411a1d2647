"""The schema that ships says what the reader does."""

import json
from pathlib import Path

import numpy as np

from nat_deploy.predictors.latency import table_json
from nat_deploy.predictors.latency.table_schema import table_schema_json
from tests.predictors.synthetic_device import make_table, small_space

SHIPPED = Path(__file__).parents[2] / "latency_tables" / "schema.json"


def test_the_shipped_schema_is_up_to_date() -> None:
    assert json.loads(SHIPPED.read_text()) == json.loads(table_schema_json()), (
        "write it anew: python -m nat_deploy.predictors.latency.table_schema > latency_tables/schema.json"
    )


def test_a_table_has_the_keys_of_the_schema_and_no_others() -> None:
    schema = json.loads(SHIPPED.read_text())
    table = json.loads(table_json(make_table(small_space(), np.random.default_rng(0), num_networks=2, num_blocks=2)))
    assert _missing_and_unknown(schema, schema, table) == []


def test_units_are_said() -> None:
    text = SHIPPED.read_text()
    assert "ms of one batch" in text
    assert "height and width in pixels" in text
    assert json.loads(text)["properties"]["unit"]["const"] == "ms"


def _missing_and_unknown(root: dict[str, object], schema: dict, value: object, place: str = "") -> list[str]:
    """Faults of a document in the subset of JSON Schema that ours uses: keys and their presence."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]  # type: ignore[index]
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if isinstance(value, list):
        return [fault for item in value for fault in _missing_and_unknown(root, schema["items"], item, f"{place}[]")]
    if not isinstance(value, dict):
        return []
    faults = [f"{place}.{key} is unknown" for key in set(value) - set(schema["properties"])]
    faults += [f"{place}.{key} is missing" for key in set(schema["required"]) - set(value)]
    for key, item in value.items():
        faults += _missing_and_unknown(root, schema["properties"][key], item, f"{place}.{key}")
    return faults
