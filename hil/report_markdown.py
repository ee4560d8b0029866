"""Tables as GitHub Markdown, to paste into papers and issues."""

from __future__ import annotations

from collections.abc import Sequence

from hil.report_tables import Table

__all__ = ["markdown"]


def markdown(heading: str, sentences: Sequence[str], tables: Sequence[Table]) -> str:
    """Write a heading, sentences and tables; the first column is text, the others figures."""
    parts = [f"# {_line(heading)}", *(_line(sentence) for sentence in sentences)]
    for table in tables:
        parts.append(f"## {_line(table.title)}")
        parts.append(_table(table))
        if table.note:
            parts.append(_line(table.note))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    ruler = ("---", *("---:" for _ in table.heads[1:]))
    lines = [_row(table.heads), f"|{'|'.join(ruler)}|"]
    for index, row in enumerate(table.rows):
        cells = [f"**{_cell(cell)}**" for cell in row] if index in table.marked else row
        lines.append(_row(cells, raw=index in table.marked))
    return "\n".join(lines)


def _row(cells: Sequence[str], *, raw: bool = False) -> str:
    return "| " + " | ".join(cell if raw else _cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """Escape what would end a cell or begin markup."""
    escaped = _line(text).replace("\\", "\\\\")
    for mark in ("|", "*", "_", "<", "`"):
        escaped = escaped.replace(mark, f"\\{mark}")
    return escaped


def _line(text: str) -> str:
    return " ".join(text.split())
