"""What the report of `dfdc tune` is made of: sections of blocks, of pictures beside their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.html import Table
from ensemble.decide import Outcome
from ensemble.summary import heaviest

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Block:
    """Pictures side by side or one beside its table, a table alone, or a list of names and values."""

    pictures: tuple[Markup, ...] = ()
    table: Table | None = None
    facts: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page; it is left out where no block shows anything."""

    title: str
    lead: str
    blocks: tuple[Block, ...]

    def shown(self) -> bool:
        """Whether there is anything in it."""
        return any(block.pictures or block.facts or (block.table and block.table.rows) for block in self.blocks)


def table_of(head: Sequence[str], rows: Sequence[Sequence[object]], kind: str = "") -> Table:
    """A table of numbers, named by the head of its first column; `kind` adds classes of the style sheet."""
    return Table(head, rows, f"numbers {kind}".strip(), f"table by {head[0]}")


def beside(picture: Markup, table: Table) -> Block:
    """A picture with the table of what it shows beside it."""
    return Block((picture,), table)


def columns_of(outcome: Outcome) -> tuple[tuple[str, ...], str]:
    """The members that have a column in a table, and a sentence where these are not all."""
    shown, count = heaviest(outcome), len(outcome.blend.members)
    return shown, f" Of {count} members the {len(shown)} with the most weight are shown." if len(shown) < count else ""
