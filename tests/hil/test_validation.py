"""hil validate: verdicts of rows, the worst of a group, files, exit codes, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hil import validators
from hil.cli import app
from hil.errors import RequestError
from hil.report_validation import group_cells, plot_validation, validation_markdown
from hil.validation import (
    Curve,
    Effort,
    Plot,
    Tolerance,
    Validation,
    ValidationRequest,
    ValidationRow,
    grouped,
)


def row(ours: float, judged: Tolerance = Tolerance.RELATIVE, **changes) -> ValidationRow:
    given = {
        "family": "things",
        "group": "size | of <a> thing",
        "at": "r = 0.5",
        "source": "Someone 2020",
        "unit": "uS",
        "published": 2.0,
        "tolerance": 0.1,
        "note": "no reason" if judged is Tolerance.NONE else "",
    }
    return ValidationRow(ours=ours, judged=judged, **{**given, **changes})


def validation(*rows: ValidationRow) -> Validation:
    line = Curve(name="size", x=(1.0, 2.0), y=(3.0, 4.0), measured=False)
    plot = Plot(name="size", title="size", x_label="x", y_label="y", curves=(line,))
    return Validation(
        address="fake:thing",
        effort=Effort.FULL,
        versions={"fake": "1"},
        families=("things",),
        wall_s={"things": 0.5},
        rows=rows,
        plots=(plot,),
    )


@pytest.mark.parametrize(
    ("ours", "judged", "difference", "passed"),
    [
        (2.19, Tolerance.RELATIVE, 0.095, True),
        (2.21, Tolerance.RELATIVE, 0.105, False),
        (1.79, Tolerance.RELATIVE, -0.105, False),
        (2.09, Tolerance.ABSOLUTE, 0.09, True),
        (1.89, Tolerance.ABSOLUTE, -0.11, False),
        (2.0, Tolerance.AT_MOST, 0.0, True),
        (2.01, Tolerance.AT_MOST, 0.01, False),
        (9.0, Tolerance.NONE, 7.0, None),
    ],
)
def test_a_row_is_judged_as_it_says(ours, judged, difference, passed) -> None:
    found = row(ours, judged)
    assert found.difference == pytest.approx(difference)
    assert found.passed is passed


def test_a_row_that_is_not_judged_says_why() -> None:
    with pytest.raises(ValueError, match="say in `note` why"):
        row(1.0, Tolerance.NONE, note="")
    with pytest.raises(ValueError, match="nothing is relative to 0"):
        row(1.0, published=0.0)


def test_a_group_shows_its_worst_point_and_passes_with_all() -> None:
    rows = [row(2.05, at="a"), row(2.3, at="b"), row(1.9, at="c"), row(5.0, Tolerance.NONE)]
    first, aside = grouped(rows)
    assert first.worst.at == "b"
    assert first.passed is False
    assert aside.passed is None
    assert group_cells(first)[-2] == "FAIL"
    assert grouped([rows[0]])[0].passed is True


def test_a_validation_passes_if_something_was_judged_and_nothing_missed() -> None:
    assert validation(row(2.0)).passed
    assert not validation(row(2.0), row(3.0)).passed
    assert not validation(row(2.0, Tolerance.NONE)).passed


def test_the_page_has_every_row_and_reads_as_a_table() -> None:
    page = validation_markdown(validation(row(2.0), row(3.0), row(9.0, Tolerance.NONE)))
    assert page.count(r"size \| of \<a> thing") == 3
    assert "1 of 2 comparisons are within their tolerance; 1 more are shown" in page
    assert plot_validation(validation(row(2.0)).plots[0]).startswith(b"\x89PNG")


def test_a_document_comes_back_from_its_file() -> None:
    found = validation(row(2.0), row(3.0))
    assert Validation.model_validate_json(found.model_dump_json()) == found


def run(*words: str):
    return CliRunner().invoke(app, ["validate", *words])


def test_a_simulator_is_validated_into_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "validation"
    words = ["--core", "sim:hermes?seed=4&rows=32", "--only", "pulses", "--quick", "--out"]
    result = run(*words, str(out))
    assert result.exit_code == 0, result.output
    line = json.loads(result.stdout.strip().splitlines()[-1])
    assert line["passed"] is True
    assert line["failed"] == []
    assert line["families"]["pulses"]["rows"] > 20
    found = Validation.model_validate_json((out / "validation.json").read_text())
    assert found.effort is Effort.QUICK
    assert {row.family for row in found.rows} == {"pulses"}
    assert any("rows" in note for note in found.notes), "what the address says is not used"
    assert (out / "validation.md").read_text().startswith("# Validation of sim:hermes")
    pictures = [Path(picture) for picture in line["pictures"]]
    assert pictures
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert "incremental SET" in result.stderr


def test_a_row_that_misses_its_tolerance_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(request: ValidationRequest) -> Validation:
        return validation(row(2.0), row(3.0))

    monkeypatch.setattr(validators, "_validator", lambda scheme: fake)
    result = run("--core", "sim:hermes", "--out", str(tmp_path / "v"))
    assert result.exit_code == 1
    assert json.loads(result.stdout.strip().splitlines()[-1])["failed"][0]["ours"] == 3.0


@pytest.mark.parametrize(
    ("address", "only", "sentence"),
    [
        ("loopback:sim:hermes", None, "To measure a chip use hil fit.*hil conformance"),
        ("serial:/dev/nothing", None, "nothing is published about what answers"),
        ("sim:ideal", None, "nothing to compare 'ideal' with; validate one of: hermes"),
        ("sim:nothing", None, "nothing to compare 'nothing'"),
        ("sim:hermes", ("things",), "no family 'things' to validate; known: devices"),
        ("sim:hermes?seed=x", None, "seed='x' is not an integer"),
        ("what:ever", None, "unknown scheme"),
    ],
)
def test_what_cannot_be_validated_is_refused(address, only, sentence) -> None:
    with pytest.raises(RequestError, match=sentence):
        validators.validate_backend(address, only=only)
