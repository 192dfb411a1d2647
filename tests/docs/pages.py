"""Reads the pages under docs/: fenced blocks with the note before them, headings, and messages of the code."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *(
        DOCS / name
        for name in ("index.md", "tutorial.md", "guides/cpu.md", "guides/jetson.md", "guides/phone.md", "extending.md")
    ),
]
_BLOCK = re.compile(r"(?:<!-- parsed only: (?P<reason>.+?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block; `reason` says why its commands are not run, None where they are."""

    page: Path
    language: str
    text: str
    reason: str | None


def blocks(page: Path) -> Iterator[Block]:
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield Block(page=page, language=found["language"], text=found["text"], reason=found["reason"])


def commands_in_sentences(page: Path) -> list[str]:
    """Commands with options among the words of a page; a command's name alone is no command."""
    sentences = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [command for command in re.findall(r"`natdeploy ([^`…]+)`", sentences) if re.search(r"--\w+ \S", command)]


def messages() -> Iterator[str]:
    """Every text of the code; what is filled in is "…"."""
    for package in ("nat_deploy", "profilers"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
                    yield re.sub("…+", "…", "".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
