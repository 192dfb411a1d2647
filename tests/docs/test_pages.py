"""What the pages say is true: commands run or parse, tables of devices are read, quoted errors exist, the site builds."""

import re
import shlex
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main

import nat_deploy
from nat_deploy.cli import app as command_line
from nat_deploy.profiling import load_devices
from nat_deploy.profiling.profile import profile
from nat_deploy.walk import measurer
from nat_deploy.walk.effort import EFFORTS
from profilers import Settings
from tests.docs.pages import DOCS, PAGES, ROOT, Block, blocks, commands_in_sentences, messages

ALL_PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
COMMAND_BLOCKS = [block for page in PAGES for block in blocks(page) if block.language == "sh"]
OTHERS = {"python", "pip", ".venv/bin/pip", ".", "adb", "natdeploy"}  # programs that commands may begin with


def lines_of(block: Block) -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in block.text.splitlines() if line.strip()]


def test_every_page_with_commands_is_walked() -> None:
    with_commands = {page for page in ALL_PAGES if any(block.language == "sh" for block in blocks(page))}
    assert with_commands == set(PAGES)


@pytest.mark.parametrize("block", COMMAND_BLOCKS, ids=lambda block: f"{block.page.stem}: {block.text.splitlines()[0][:50]}")
def test_every_command_is_one_that_the_parser_takes(block: Block) -> None:
    for program, *arguments in lines_of(block):
        assert program in OTHERS
        assert program == "natdeploy" or block.reason, f"{program} is not run, so a reason must stand before the block"
        if program == "natdeploy":
            parse(arguments)
        for extra in re.findall(r"natdeploy\[(\w+)\]", " ".join(arguments)):
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
            assert extra in extras


def test_commands_in_sentences_are_taken_too() -> None:
    found = [command for page in ALL_PAGES for command in commands_in_sentences(page)]
    assert len(found) > 5
    for command in found:
        parse(shlex.split(command))


def parse(arguments: list[str]) -> None:
    """As the command line reads them; an unknown option or a wrong value raises."""
    command, name = typer.main.get_command(command_line.app), "natdeploy"
    while arguments and arguments[0] in getattr(command, "commands", {}):
        name, *arguments = arguments
        command = command.commands[name]
    command.make_context(name, arguments)


def test_the_parser_check_refuses() -> None:
    with pytest.raises(Exception, match="--bogus"):
        parse(["export", "subnet.json", "--bogus"])


@pytest.mark.slow
def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Word for word and in order, in a folder of its own; only the clock of profiling and the sizes of data and search are small."""
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    (tmp_path / "latency_tables").symlink_to(ROOT / "latency_tables")
    make_small(monkeypatch)
    pictures = next(block for block in blocks(DOCS / "tutorial.md") if block.language == "python")
    assert "[:500]" in pictures.text
    exec(pictures.text.replace("[:500]", "[:200]"), {})
    for block in sorted(COMMAND_BLOCKS, key=lambda block: block.page.name != "tutorial.md"):
        describe_devices(block.page, tmp_path)
        for program, *arguments in lines_of(block) if block.reason is None else ():
            assert program == "natdeploy"
            with pytest.raises(SystemExit) as exited:
                command_line.main(arguments)
            told = capsys.readouterr()
            assert exited.value.code == 0, f"{block.page.name}: {shlex.join(arguments)}\n{told.err}"
            assert told.out
    for file in (
        "run/report.html",
        "model.onnx",
        "model.onnx.json",
        "model-fp16.onnx",
        "tuned/subnet.json",
        "two-threads-run/subnet.json",
        "kit/INSTRUCTIONS.md",
    ):
        assert (tmp_path / file).is_file(), file


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    assert profile.__kwdefaults__ is not None
    monkeypatch.setitem(profile.__kwdefaults__, "clock", lambda: 40 * time.monotonic())
    quick = replace(EFFORTS["quick"], initial_size=6, archive_size=8, iterations=1, new_per_iteration=3, population_size=10)
    quick = replace(quick, generations=3, first_epochs=0.3, further_epochs=0.1, measured_half_width=0.1, measured_cap_s=0.5)
    monkeypatch.setitem(EFFORTS, "quick", quick)
    preset = Settings.preset
    monkeypatch.setattr(Settings, "preset", staticmethod(lambda name: replace(preset(name), cap_s=0.5)))
    monkeypatch.setattr(measurer, "QUICK", replace(measurer.QUICK, cap_s=0.5))


def describe_devices(page: Path, folder: Path) -> None:
    """What the page says of devices, in `devices.toml`; the board of the Jetson's guide answers from what this machine measured."""
    described = "\n".join(block.text for block in blocks(page) if block.language == "toml")
    if page.name == "jetson.md":
        [sittings] = (folder / "home").rglob("*.t1.b1/ofa-mbv3-w0.5.sittings")
        described = f'[devices.jetson]\nruntime = "replay:{sittings}"\n'
    (folder / "devices.toml").write_text(described, encoding="utf-8")


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_descriptions_of_devices_are_read(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "toml":
            (tmp_path / "devices.toml").write_text(block.text, encoding="utf-8")
            assert set(tomllib.loads(block.text)["devices"]) < set(load_devices([tmp_path / "devices.toml"]))


def test_every_quoted_error_is_one_of_the_code() -> None:
    known = list(messages())
    quoted = re.findall(r"^### (.+)$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(quoted) > 10
    missing = [heading for heading in quoted if not any(heading in message for message in known)]
    assert not missing


def test_the_page_of_commands_is_that_of_the_code() -> None:
    from docs.command_reference import PAGE, reference

    assert PAGE.read_text(encoding="utf-8") == reference(), "run python docs/command_reference.py"


def test_the_page_of_python_names_what_is_exported() -> None:
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == set(nat_deploy.__all__)
    own = [block.text for block in blocks(DOCS / "python.md") if block.language == "python" and "--8<--" not in block.text]
    for text in own:
        exec(text, {})


def test_files_that_extending_names_are_there() -> None:
    named = re.findall(r"`((?:nat_deploy|profilers|tests)/[\w/]+\.py)`", (DOCS / "extending.md").read_text(encoding="utf-8"))
    assert len(named) > 5
    assert [name for name in named if "NAME" not in name and not (ROOT / name).is_file()] == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="needs natdeploy[docs]")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "tutorial" / "index.html").read_text(encoding="utf-8")
    assert "your own images" in page
    assert "fonts.googleapis.com" not in page
    assert "profiled" in (tmp_path / "site" / "python" / "index.html").read_text(encoding="utf-8")  # a word of the example
