"""Files that are whole or not there."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nat_deploy.errors import FileFormatError, InputError, MissingError, NatDeployError, WorkError
from nat_deploy.files import (
    append_line,
    lock_folder,
    open_atomically,
    parse_json,
    read_json_document,
    remove_temporaries,
    write_atomically,
)


def only_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWriteAtomically:
    def test_text_and_bytes(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "a", "grün\n")
        write_atomically(tmp_path / "a", b"\x00\xff")
        assert (tmp_path / "a").read_bytes() == b"\x00\xff"
        write_atomically(tmp_path / "a", "grün\n")
        assert (tmp_path / "a").read_bytes() == "grün\n".encode()
        assert only_files(tmp_path) == ["a"]

    @pytest.mark.parametrize(
        ("number", "kind", "sentence"),
        [
            (errno.ENOSPC, WorkError, "the disk is full; free some space"),
            (errno.EIO, WorkError, "could not be written .*; check the disk"),
            (errno.EACCES, InputError, "must be writable, but it is not permitted"),
        ],
    )
    def test_a_failed_write_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[NatDeployError], sentence: str
    ) -> None:
        def fail(handle: int) -> None:
            raise OSError(number, os.strerror(number))

        write_atomically(tmp_path / "a", "before")
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(kind, match=sentence):
            write_atomically(tmp_path / "a", "after")
        assert (tmp_path / "a").read_text() == "before"
        assert only_files(tmp_path) == ["a"]

    def test_an_interrupted_write_changes_nothing(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "a", "before")

        def interrupted() -> None:
            with open_atomically(tmp_path / "a") as file:
                file.write(b"aft")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert (tmp_path / "a").read_text() == "before"
        assert only_files(tmp_path) == ["a"]

    def test_wrong_places(self, tmp_path: Path) -> None:
        for path in (tmp_path / "missing" / "a", tmp_path):
            with pytest.raises(InputError, match="must be a place that can be written"):
                write_atomically(path, "x")

    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "a")
        write_atomically(tmp_path / "link", "x")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "a").read_text() == "x"


class TestAppendLine:
    def test_lines_are_added(self, tmp_path: Path) -> None:
        for line in ("one", "zwei ü", ""):
            append_line(tmp_path / "a", line)
        assert (tmp_path / "a").read_text() == "one\nzwei ü\n\n"

    def test_a_half_written_line_swallows_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text('{"id": 1}\n{"id"')
        append_line(tmp_path / "a", '{"id": 3}')
        assert (tmp_path / "a").read_text().splitlines() == ['{"id": 1}', '{"id"', '{"id": 3}']

    def test_a_failed_line_leaves_the_file_as_it_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(handle: int) -> None:
            raise OSError(errno.ENOSPC, "no space")

        append_line(tmp_path / "a", "one")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(WorkError, match="the disk is full"):
            append_line(tmp_path / "a", "two")
        assert (tmp_path / "a").read_text() == "one\n"

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    def test_a_full_device(self) -> None:
        with pytest.raises(WorkError, match="the disk is full"):
            append_line(Path("/dev/full"), "x")

    def test_a_line_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="line break"):
            append_line(tmp_path / "a", "one\ntwo")


def test_leftovers_of_killed_writers_go_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in (".a.json.0123abcd.tmp", "deep/.001.tmp", "a.tmp", ".hidden", "deep/b.json"):
        (tmp_path / name).write_text("half")
    remove_temporaries(tmp_path)
    assert only_files(tmp_path) == [".hidden", "a.tmp", "deep"]
    assert only_files(tmp_path / "deep") == ["b.json"]


HOLD = """
import sys
from pathlib import Path
from nat_deploy.files import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="folders are locked on POSIX systems only")
def test_a_folder_is_held_until_the_process_ends_however_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="must be used by one process at a time"), lock_folder(tmp_path):
            pass
        process.kill()
    with lock_folder(tmp_path):
        pass
    with lock_folder(tmp_path):
        assert only_files(tmp_path) == []


class TestReadJson:
    def test_values(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5, null, "\\u00fc\\ud83d\\ude00"]}')  # with a byte-order mark
        assert read_json_document(tmp_path / "a") == {"a": [1, 2.5, None, "ü😀"]}

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("{", "one JSON document"),
            ("NaN", "NaN is not a JSON number"),
            ("1e400", "1e400 is too large"),
            ('{"a": 1, "a": 2}', "key 'a' is there twice"),
            ("[" * 100_000, "nested too deeply"),
            ('"\\udc00"', "escapes half of one"),
            (b"\xff", "byte 0 is not"),
        ],
    )
    def test_refusals(self, text: str | bytes, sentence: str) -> None:
        with pytest.raises(FileFormatError, match=f"file 'x' must .*{sentence}"):
            parse_json(text, described_as="file 'x'")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(MissingError, match="must exist"):
            read_json_document(tmp_path / "a")
        with pytest.raises(FileFormatError, match="must be readable"):
            read_json_document(Path("a\0b"))
