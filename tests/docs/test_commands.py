"""What the documentation tells people to type exists: commands, options, and Python that compiles."""

import re
import shlex

import pytest
from typer.main import get_command

import dfdc
from scripts.command_line_page import commands, page
from tests.docs.blocks import DOCS, Block, blocks

APP = get_command(dfdc.app)


def calls_of(block):
    """The arguments behind each `dfdc` of a block."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.replace("`", ""), comments=True)
        for at, word in enumerate(words):
            if word == "dfdc" or word.endswith(("/dfdc", "dfdc.py")):
                ends = [i for i, other in enumerate(words) if i > at and other in ("&&", "|", ";", ">")]
                yield words[at + 1 : ends[0] if ends else None]
                break


def complain(arguments):
    """What is wrong with the arguments of `dfdc`; empty for nothing."""
    command, rest, name = APP, list(arguments), "dfdc"
    while rest and rest[0] in getattr(command, "commands", {}):
        name, command = f"{name} {rest[0]}", command.commands[rest.pop(0)]
    if name == "dfdc explore":
        command = command.commands["page"]
    if name == "dfdc" and rest and not rest[0].startswith("-"):
        return f"there is no command {rest[0]!r}"
    options = {opt: p for p in command.params for opt in (*p.opts, *p.secondary_opts) if opt.startswith("-")}
    options["--help"] = None
    positional = []
    while rest:
        word = rest.pop(0)
        key, equals, _ = word.partition("=")
        if not word.startswith("-") or word == "-":
            positional.append(word)
        elif key not in options:
            return f"{name} has no option {key!r}"
        elif options[key] is not None and not options[key].is_flag and not equals:
            if not rest:
                return f"{name} {word} lacks its value"
            rest.pop(0)
    places = [p for p in command.params if p.param_type_name == "argument"]
    if len(positional) > len(places) and not any(p.nargs == -1 for p in places):
        return f"{name} takes {len(places)} arguments, not {positional}"
    return ""


@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_every_command_and_option_exists(block):
    assert [said for arguments in calls_of(block) if (said := complain(arguments))] == []


@pytest.mark.parametrize("block", [b for b in blocks("bash") if DOCS in b.page.parents], ids=str)
def test_a_block_is_run_or_says_why_not(block):
    assert block.note == "run" or re.fullmatch(r"not run: .{10,}", block.note, re.S)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_compiles(block):
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dfdc predict VIDEOS... -o s.csv --report r.html  # a comment", ""),
        ("source .venv/bin/activate && python -m dfdc explore frames V -o f/ --rate 0.2", ""),
        ("dfdc explore V -o report/", ""),
        ("dfdc guess V", "there is no command 'guess'"),
        ("dfdc predict V --reprot r.html", "dfdc predict has no option '--reprot'"),
        ("dfdc predict V -o", "dfdc predict -o lacks its value"),
        ("dfdc push build/a build/b", "dfdc push takes 1 arguments, not ['build/a', 'build/b']"),
    ],
)
def test_mistakes_are_seen(text, said):
    (arguments,) = list(calls_of(Block(DOCS / "x.md", 1, "bash", text + "\n", ""))) or [["no call"]]
    assert complain(arguments) == said


def test_the_page_of_the_command_line_has_every_command_and_option():
    text = page()
    for words, command in commands(APP):
        assert f"\n## {' '.join(words)}\n" in text
        section = text.split(f"\n## {' '.join(words)}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            assert all(f"`{name}`" in section for name in parameter.opts if name.startswith("-"))
    assert "| `--format` | `png` or `jpg` | lossless, or smaller (default: `png`) |" in text
    assert "| `--labels` | a path | metadata.json, or CSV: face or filename" in text
