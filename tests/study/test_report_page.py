"""Reports: verdict first, self-contained, every value escaped, and honest about the back-end."""

import re
from html.parser import HTMLParser

import pytest

from hil.errors import RecordError, RequestError
from hil.experiment_results import FailedChip, spreads
from hil.experiment_words import age_text, verdict
from hil.record import RunStatus, load_record, new_record
from hil.report import result_of, write_report
from hil.run_folder import RunFolder


def folder_with(path, results):
    record = new_record("digits", command=("hil", "run", "a b"), seed=0, address="sim:hermes")
    with RunFolder.create(path, record) as run:
        run.finish(RunStatus.DONE, results.model_dump(mode="json"))
    return run.path


@pytest.fixture
def page_text(tmp_path, made_up):
    return write_report(folder_with(tmp_path / "run", made_up())).read_text()


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.open, self.order = [], [], []

    def handle_starttag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("src", "href") and v]
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.order.append(dict(attrs).get("class") or tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_is_well_formed_self_contained_and_says_the_verdict_before_any_picture(page_text):
    page = Page()
    page.feed(page_text)
    assert page.open == []
    assert len(page.links) == 7
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not re.search(r"https?://|<script", page_text)
    assert page.order.index("verdict good") < page.order.index("figure")


def test_what_comes_from_outside_is_escaped(page_text):
    assert "<digits>" not in page_text
    assert "&lt;digits&gt; &amp; more" in page_text


def test_a_page_says_which_chip_answered_and_how_to_repeat_the_run(page_text):
    assert "simulated chip" in page_text
    assert "SIM-7" in page_text
    assert "hil run &#x27;a b&#x27;" in page_text


def test_a_page_over_several_chips_gives_intervals_and_names_the_chip_that_failed(
    tmp_path, made_up_repeat
):
    failed = FailedChip(
        chip_seed=9, address="sim:hermes?seed=9", folder="chip-9", kind="X", message="it <burnt>"
    )
    folder = folder_with(tmp_path / "run", made_up_repeat((1, 2, 3), failed=(failed,)))
    text = write_report(folder).read_text()
    assert "verdict bad" in text
    assert "±" in text
    assert "Chip 9 failed: it &lt;burnt&gt;" in text
    assert len(result_of(load_record(folder))) == 3


def test_an_untrained_network_is_called_so(tmp_path, made_up):
    text = write_report(folder_with(tmp_path / "run", made_up(trained=False))).read_text()
    assert "untrained network" in text
    assert "accuracies mean nothing" in text


def test_results_of_an_older_version_are_refused_in_a_sentence(tmp_path, made_up):
    old = {**made_up().model_dump(mode="json"), "schema_version": 1}
    record = new_record("digits", command=("hil",), seed=0)
    with RunFolder.create(tmp_path / "run", record) as run:
        run.finish(RunStatus.DONE, old)
    with pytest.raises(RecordError, match=r"version 1, this software draws version 2; run"):
        write_report(tmp_path / "run")


def test_a_run_without_results_is_refused_with_its_status(tmp_path):
    def stopped():
        with RunFolder.create(tmp_path / "run", new_record("t", command=(), seed=0)):
            raise RequestError("the network does not fit")

    with pytest.raises(RequestError):
        stopped()
    with pytest.raises(RecordError, match=r"refused.*the network does not fit"):
        write_report(tmp_path / "run")


def test_the_verdict_judges_the_weakest_age_with_the_compensation_named_beforehand(made_up):
    result = made_up()
    judged = [p for p in result.points if (p.method, p.compensation) == ("gdp", "none")]
    weakest = min(judged, key=lambda p: p.accuracy)
    goal = {"method": "gdp", "compensation": "none"}
    met, text = verdict(
        result.points, software_accuracy=weakest.accuracy + 0.02, max_accuracy_loss=0.03, **goal
    )
    assert met
    assert text.startswith("Goal met: programmed by gradient descent")
    assert f"{weakest.accuracy:.1%} correctly" in text
    assert "without compensation" in text
    met, text = verdict(
        result.points, software_accuracy=weakest.accuracy + 0.04, max_accuracy_loss=0.03, **goal
    )
    assert not met
    assert text.startswith("Goal not met")


def test_a_better_compensation_that_is_not_judged_does_not_save_the_goal(made_up):
    result = made_up()
    points = tuple(
        p.model_copy(update={"accuracy": 1.0 if p.compensation == "global" else 0.5})
        for p in result.points
    )
    goal = {"software_accuracy": 1.0, "method": "gdp", "max_accuracy_loss": 0.1}
    assert verdict(points, compensation="global", **goal)[0]
    assert not verdict(points, compensation="affine", **goal)[0]


def test_spreads_of_equal_chips_are_zero_and_of_one_chip_unknown(made_up):
    same = spreads((made_up(1), made_up(1)))
    assert all(abs(row.accuracy_half) < 1e-12 for row in same)
    assert all(row.accuracy_half is None for row in spreads((made_up(1),)))


@pytest.mark.parametrize(
    ("age_s", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (90, "90 s"),
        (200, "200 s"),
        (3600, "1 h"),
        (5400, "1.5 h"),
        (86400, "1 day"),
        (30 * 86400, "30 days"),
    ],
)
def test_ages_are_written_in_the_unit_a_person_would_take(age_s, text):
    assert age_text(age_s) == text
