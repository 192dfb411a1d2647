"""The JSON schema of latency tables, made from what reads them, so that it cannot say anything else.

`python -m nat_deploy.predictors.latency.table_schema > latency_tables/schema.json` writes the file that ships.
"""

import json
from typing import Any

from nat_deploy.predictors.latency.table_file import FORMAT, TableModel


def table_schema_json() -> str:
    """The text of `latency_tables/schema.json`; units are in the names of the keys and in their descriptions."""
    schema = _untitled(TableModel.model_json_schema())
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"natdeploy latency table, format {FORMAT}",
        "description": "What was measured on one target for one search space; README.md beside this file explains it.",
    }
    return json.dumps({**schema, **head}, indent=1, sort_keys=True) + "\n"


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles that pydantic makes of the names, which say nothing more."""
    return {
        key: _untitled(value) if isinstance(value, dict) else value
        for key, value in schema.items()
        if key != "title" or isinstance(value, dict)
    }


if __name__ == "__main__":
    print(table_schema_json(), end="")
