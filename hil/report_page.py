"""The page of a report: HTML text from words, pictures and tables. Reads and writes no file."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from hil.report_tables import Table

__all__ = ["Page", "Picture", "render_page"]


class Picture(BaseModel):
    """A picture of a report: file name, PNG bytes, what it shows in one sentence."""

    model_config = ConfigDict(frozen=True)

    name: str
    png: bytes
    caption: str


class Page(BaseModel):
    """What a page shows, from top to bottom; plain text throughout.

    Attributes:
        title, badges: Heading, and short words beside it.
        good: Whether the verdict is a good one; None where nothing is judged.
        verdict: The finding, first thing on the page.
        facts: Figures with what they mean.
        sentences: Findings beside the verdict.
        pictures, tables: In the order shown.
        provenance: Where it comes from: name and value.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    title: str
    badges: tuple[str, ...]
    good: bool | None
    verdict: str
    facts: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]
    pictures: tuple[Picture, ...]
    tables: tuple[Table, ...]
    provenance: tuple[tuple[str, str], ...]


def render_page(page: Page) -> str:
    """Return the page as text. Every word from outside is escaped; images are embedded."""
    state = {True: "good", False: "bad", None: "plain"}[page.good]
    return _PAGE.format(
        title=html.escape(page.title),
        style=_STYLE,
        badges=" ".join(f"<span class=badge>{html.escape(b)}</span>" for b in page.badges),
        state=state,
        verdict=html.escape(page.verdict),
        facts="".join(_fact(*fact) for fact in page.facts),
        sentences="".join(f"<p>{html.escape(sentence)}</p>" for sentence in page.sentences),
        figures="".join(_figure(picture) for picture in page.pictures),
        tables="".join(_table(table) for table in page.tables),
        provenance=_provenance(page.provenance),
    )


def _fact(number: str, words: str) -> str:
    return f"<div class=fact><b>{html.escape(number)}</b><span>{html.escape(words)}</span></div>"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    caption = html.escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in table.heads)
    rows = "".join(
        f"<tr{' class=judged' if index in table.marked else ''}>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        + "</tr>"
        for index, row in enumerate(table.rows)
    )
    note = f"<p class=note>{html.escape(table.note)}</p>" if table.note else ""
    return (
        f"<h2>{html.escape(table.title)}</h2><div class=scroll><table><thead><tr>{heads}</tr>"
        f"</thead><tbody>{rows}</tbody></table></div>{note}"
    )


def _provenance(rows: Sequence[tuple[str, str]]) -> str:
    return "".join(
        f"<tr><th>{html.escape(k)}</th><td><code>{html.escape(v)}</code></td></tr>" for k, v in rows
    )


_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto;
       max-width: 1080px; padding: 1.2rem 1.5rem 2rem; }
h1 { font-size: 1.05rem; font-weight: 600; color: #555; margin: 0 0 .6rem; }
h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
.badge { font-size: .8rem; border: 1px solid #999; border-radius: 1em; padding: .1em .7em;
         color: #444; white-space: nowrap; font-weight: 400; }
.verdict { font-size: 1.25rem; line-height: 1.4; border-left: .35rem solid; padding: .5rem 1rem;
           margin: 0 0 1rem; border-radius: .2rem; }
.good { border-color: #009e73; background: #effaf6; }
.bad { border-color: #d55e00; background: #fdf3ec; }
.plain { border-color: #999999; background: #f6f6f6; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; margin: 0 0 1rem; }
.fact b { display: block; font-size: 1.5rem; font-weight: 600; line-height: 1.2; }
.fact span { color: #555; font-size: .85rem; }
.figures { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem 1.4rem; align-items: end; }
@media (max-width: 760px) { .figures { grid-template-columns: 1fr; } }
figure { margin: 0; }
figure img { max-width: 100%; max-height: 300px; display: block; }
figcaption { font-size: .85rem; color: #555; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
         vertical-align: top; }
thead th { border-bottom: 1.5px solid #888; font-weight: 600; }
tr.judged td { font-weight: 700; }
.note { font-size: .85rem; color: #555; margin: .3rem 0 0; }
code { font-size: .82rem; overflow-wrap: anywhere; }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head><body>
<h1>{title} {badges}</h1>
<p class="verdict {state}">{verdict}</p>
{sentences}
<div class=facts>{facts}</div>
<div class=figures>{figures}</div>
{tables}
<h2>Where this comes from</h2><table>{provenance}</table>
</body></html>
"""
