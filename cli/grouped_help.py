"""The list of commands in `dfdc --help`, by what they are for, each with its whole first sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperGroup

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

WHOLE = 1000  # characters: no first sentence is cut


class GroupedHelp(TyperGroup):
    """A group whose help lists its commands under their `rich_help_panel`, in the order of their definition."""

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write a section for each group of commands; for the arguments see click."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            if (command := self.get_command(ctx, name)) is not None and not command.hidden:
                title = getattr(command, "rich_help_panel", None)
                row = name, command.get_short_help_str(WHOLE)
                sections.setdefault(title if isinstance(title, str) else "Commands", []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)
