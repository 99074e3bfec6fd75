"""The page of the command line, made of the commands themselves: a hook of mkdocs, so that no page can be outdated."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from typer.main import get_command

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

PAGE = "reference/command-line.md"
KINDS = {Path: "a path", str: "a text", int: "a whole number", float: "a number", bool: "a switch"}
INTRODUCTION = """# Command line

Every command has `--help`, which says the same. Results go to stdout, progress and logs to stderr. This page is made
from the code when the site is built.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to the site's sources; mkdocs calls this."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files


def page() -> str:
    """Return the page as Markdown: each command with its arguments and options."""
    import dfdc

    parts = [INTRODUCTION.strip()]
    for words, command in commands(get_command(dfdc.app)):
        parts += [f"## {' '.join(words)}", _text(command.help), *_tables(command)]
    return "\n\n".join(parts) + "\n"


def commands(command: Any, words: tuple[str, ...] = ("dfdc",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield a command and all below it, each with the words that call it, in the order of `--help`."""
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from commands(inner, (*words, name))


def _tables(command: Any) -> Iterator[str]:
    """The arguments and the options, as far as there are any."""
    arguments = [[f"`{name_of(p)}`", _described(p)] for p in command.params if p.param_type_name == "argument"]
    options = [
        [", ".join(f"`{name}`" for name in (*p.opts, *p.secondary_opts)), _kind(p), _described(p)]
        for p in command.params
        if p.param_type_name == "option" and not p.hidden
    ]
    if arguments:
        yield _table(["argument", "what it is"], arguments)
    if options:
        yield _table(["option", "takes", "what it does"], options)


def name_of(argument: Any) -> str:
    """Return an argument as `--help` shows it: brackets where it may be left out, dots where it may be repeated."""
    name = argument.metavar or argument.name.upper()
    name = name if argument.required else f"[{name}]"
    return name if argument.nargs == 1 else f"{name}..."


def _kind(option: Any) -> str:
    """What follows an option on the command line; empty for a switch."""
    if option.is_flag:
        return ""
    if option.metavar:
        return str(option.metavar)
    kind = option.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    inner = get_args(kind)[0] if get_args(kind) else kind
    return KINDS[inner] + (", may be repeated" if option.multiple else "")


def _described(parameter: Any) -> str:
    """The help with the default behind it, where there is one that the help does not tell."""
    told = _text(getattr(parameter, "help", "") or "")
    if getattr(parameter, "required", False) and parameter.param_type_name == "option":
        return f"{told} **required**"
    default = parameter.default
    shown = parameter.show_default and not getattr(parameter, "is_flag", False)
    if not shown or default is None or callable(default) or default in ([], (), ""):
        return told
    text = parameter.show_default if isinstance(parameter.show_default, str) else str(default)
    root = str(Path(__file__).resolve().parent.parent) + "/"
    return f"{told} (default: `{text.replace(root, '')}`)"


def _text(text: str | None) -> str:
    """Text of a docstring for Markdown, with what would be a tag or a cell of its own made harmless."""
    return inspect.cleandoc(text or "").replace("&", "&amp;").replace("<", "&lt;").replace("\f", "")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in line) + " |" for line in lines)
