"""What was asked for comes back from a run folder, and what another version wrote is refused."""

import json
from pathlib import Path

import pytest

from nat_deploy.errors import FileFormatError, InputError
from nat_deploy.walk import SearchRequest, load_request, save_request
from nat_deploy.walk.data_sets import name_data_sets


def test_a_request_comes_back(tmp_path: Path) -> None:
    request = SearchRequest(data=("digits", "photos/"), objectives=("memory",), prefer="error@digits=2", resolutions=(32, 48))
    save_request(tmp_path, request)
    assert load_request(tmp_path) == request


@pytest.mark.parametrize("old", [1, 2])
def test_a_request_of_an_older_format_is_refused(old: int, tmp_path: Path) -> None:
    """Such as one of format 2, with a single data set."""
    (tmp_path / "request.json").write_text(json.dumps({"format": old, "request": {"data": "digits"}}))
    with pytest.raises(
        FileFormatError, match=f"must have format 3, but it has {old}; use the version of natdeploy that wrote it"
    ):
        load_request(tmp_path)


def test_one_data_set_has_the_plain_error_and_several_have_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    assert name_data_sets(["digits"]) == {"error_percent": "digits"}
    assert name_data_sets(["digits", f"{folder}/"]) == {
        "error_percent@digits": "digits",
        "error_percent@my photos": f"{folder}/",
    }
    for wrong in ([], ["digits", "digits"]):
        with pytest.raises(InputError, match="one data set or several different ones"):
            name_data_sets(wrong)
    with pytest.raises(InputError, match="are both called 'my photos'"):
        name_data_sets([str(folder), f"{folder}/"])
