"""Writes commands.md from the command line itself: python docs/command_reference.py"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

PAGE = Path(__file__).with_name("commands.md")
_HEAD = """# Commands

Made from the code by `docs/command_reference.py`. Every command takes `--help`; `--debug` anywhere shows where an error came from.
"""


def reference() -> str:
    """The whole page as Markdown."""
    from nat_deploy.cli.app import app

    commands = _walk("natdeploy", typer.main.get_command(app))
    return "\n".join([_HEAD, *(text for name, command in commands for text in _section(name, command))])


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name; commands and groups have no public common type."""
    children = getattr(command, "commands", {})
    if not children or command.invoke_without_command:
        yield name, command
    for child_name, child in children.items():
        yield from _walk(f"{name} {child_name}", child)


def _section(name: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=name)
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    shown = [" ".join(argument.get_usage_pieces(context)) for argument in arguments]
    yield f"## {name}\n\n{command.help or ''}\n\n```text\n{' '.join([name, *shown, '[OPTIONS]'])}\n```\n"
    if arguments:
        rows = [f"| `{piece}` | {_cell(argument.help)} |" for piece, argument in zip(shown, arguments, strict=True)]
        yield "\n".join(["| argument | |", "|---|---|", *rows, ""])
    yield "\n".join(["| option | | default |", "|---|---|---|", *(_row(option, context) for option in options), ""])


def _row(option: Any, context: Any) -> str:
    value = "" if option.is_flag else f" {option.display_type(context).replace('|', '/')}"
    default = "" if option.default is None or option.is_flag else f"`{getattr(option.default, 'value', option.default)}`"
    return f"| `{', '.join(option.opts)}{value}` | {_cell(option.help)} | {'required' if option.required else default} |"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
