"""Tables of a report: one value, three looks; Markdown that cannot break out of its cells."""

import re

import pytest

from hil.report_markdown import markdown
from hil.report_tables import Table, accuracy_table, difference_tables, loss_table, tables_of


def cells(line):
    return [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.mark.parametrize("text", ["a|b", "*a*", "_a_", "<b>", "a\nb", "`x`", "\\|"])
def test_no_text_ends_its_cell_or_becomes_markup(text):
    table = Table(title="t", heads=("a", "b"), rows=((text, "1"), ("x", text)))
    lines = [line for line in markdown("h", (), [table]).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert all(len(cells(line)) == 2 for line in lines)
    assert not re.search(r"(?<!\\)[<`*_]", "".join(lines[2:]))


def test_the_judged_row_stands_out(made_up):
    table = accuracy_table(made_up())
    (marked,) = table.marked
    assert table.rows[marked][0] == "gradient descent, affine"
    text = markdown("h", (), [table])
    assert text.count("| **") == len(table.heads)


def test_every_table_is_rectangular(made_up, made_up_repeat):
    for found in (made_up(), made_up_repeat()):
        for table in tables_of(found):
            assert {len(row) for row in table.rows} == {len(table.heads)}


def test_a_table_of_differences_has_a_row_per_compensation_and_marks_what_excludes_zero(
    made_up_repeat,
):
    found = made_up_repeat((1, 2, 3, 4))
    (table,) = difference_tables(found)
    assert table.title == "Gradient descent minus program-and-verify, points of accuracy"
    assert len(table.rows) == 4
    shown = {row[0]: row[1:] for row in table.rows}
    for d in found.differences:
        name = f"gradient descent, {d.compensation.replace('_', '-')}"
        cell = shown[name][[0.0, 3600.0, 86400.0].index(d.age_s)]
        assert cell.startswith(f"{100 * d.paired.mean:+.2f} ")
        assert cell.endswith("*") == d.paired.excludes_zero


def test_losses_of_both_methods_stand_in_one_table(made_up):
    found = made_up()
    table = loss_table(found)
    assert len(table.rows) == 8
    first = found.losses[0].paired.mean
    assert first == pytest.approx(found.points[0].accuracy - found.software_accuracy)
    assert table.rows[0][1].startswith(f"{100 * first:+.2f} (")


def test_recall_is_that_of_the_confusion_over_all_chips(made_up_repeat):
    found = made_up_repeat()
    table = next(t for t in tables_of(found) if t.title.startswith("Recall"))
    for k, (_, recall, count) in enumerate(table.rows):
        hits = sum(run.confusion[k][k] for run in found.runs)
        total = sum(sum(run.confusion[k]) for run in found.runs)
        assert (recall, count) == (f"{100 * hits / total:.2f}", f"{total:,}")
