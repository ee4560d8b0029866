"""Reports: verdict first, self-contained, every value escaped, and honest about the back-end."""

import re
from html.parser import HTMLParser

import pytest

from hil.errors import RecordError, RequestError
from hil.experiment_results import (
    ExperimentResult,
    LayerPlace,
    LayerPoint,
    MethodResult,
    Point,
    RepeatedResult,
    age_text,
    spreads,
    verdict,
)
from hil.info import BackendKind
from hil.record import ChipIdentity, RunStatus, load_record, new_record
from hil.report import result_of, write_report
from hil.run_folder import RunFolder

AGES = (0.0, 3600.0, 86400.0)
COMPENSATIONS = ("none", "global", "affine", "batch_norm")
LAYERS = ("conv0", "conv1", "res1.0", "res1.1", "conv4", "dense")
LOSS = {"none": 0.12, "global": 0.02, "affine": 0.008, "batch_norm": 0.01}
BASE_ERROR = {"verify": 0.18, "gdp": 0.095}


def make_result(seed=7, **changes):
    """Results of a made-up run: accuracy falls with age, less with compensation."""
    points, layers = [], []
    for method, error in BASE_ERROR.items():
        for k, age in enumerate(AGES):
            for compensation in COMPENSATIONS:
                accuracy = 0.986 - error / 20 - k * LOSS[compensation] - 0.001 * (seed % 5)
                at = {"method": method, "age_s": age, "compensation": compensation}
                e = error * (1 + 0.4 * k * (1 + 5 * LOSS[compensation]))
                points.append(
                    Point(
                        **at,
                        measured_age_s=age + 5,
                        accuracy=accuracy,
                        mvm_error=e,
                        saturated_share=0.0,
                    )
                )
                layers += [
                    LayerPoint(**at, layer=name, mvm_error=e * (0.8 + 0.1 * i), saturated_share=0)
                    for i, name in enumerate(LAYERS)
                ]
    values = {
        "recipe": "digits",
        "title": "ResNet-9 on <digits> & more",
        "chip": ChipIdentity(
            serial=f"SIM-{seed}", backend=BackendKind.SIM, model="hermes", versions={}
        ),
        "address": f"sim:hermes?cores=2&seed={seed}",
        "seed": 0,
        "network": "resnet9-digits",
        "dataset": "digits",
        "samples": 360,
        "software_accuracy": 0.986,
        "quantised_accuracy": 0.983,
        "methods": tuple(
            MethodResult(
                method=m,
                outcome="every cell was accepted",
                success_share=0.999,
                pulses_per_device=p,
                pulses_max=30,
                pulses_total=1000,
                pulses_histogram=tuple(int(1e5 * 0.7**k) for k in range(30)),
                reads=10,
                mvms=5000,
                mvm_error=e,
                mvm_error_affine=0.9 * e,
                mvm_error_relu=e,
                mvm_error_relu_affine=e,
                chip_s=12.0,
                wall_s=20.0,
            )
            for (m, e), p in zip(BASE_ERROR.items(), (3.4, 5.1), strict=True)
        ),
        "points": tuple(points),
        "layers": tuple(layers),
        "rows": 256,
        "cols": 256,
        "placement": tuple(
            LayerPlace(layer=name, core=i % 2, row=0, col=40 * i, rows=252, cols=38)
            for i, name in enumerate(LAYERS)
        ),
        "utilisation": 0.66,
        "confusion": tuple(tuple(36 if r == c else 0 for c in range(10)) for r in range(10)),
        "goal_method": "gdp",
        "max_accuracy_loss": 0.03,
        "goal_met": True,
        "verdict": "Goal met: fine.",
        "chip_s": 90_000.0,
        "wall_s": 60.0,
    }
    return ExperimentResult(**{**values, **changes})


def folder_with(path, results):
    record = new_record("digits", command=("hil", "run", "a b"), seed=0, address="sim:hermes")
    with RunFolder.create(path, record) as run:
        run.finish(RunStatus.DONE, results.model_dump(mode="json"))
    return run.path


@pytest.fixture(scope="module")
def page_text(tmp_path_factory):
    return write_report(folder_with(tmp_path_factory.mktemp("one"), make_result())).read_text()


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
    assert len(page.links) == 6
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


def test_a_page_over_several_chips_gives_intervals(tmp_path):
    runs = tuple(make_result(seed) for seed in (1, 2, 3))
    results = RepeatedResult(
        recipe="digits",
        runs=runs,
        spreads=spreads(runs),
        software_accuracy=0.986,
        goal_met=False,
        verdict="Goal not met: by far.",
    )
    folder = folder_with(tmp_path / "run", results)
    text = write_report(folder).read_text()
    assert "verdict bad" in text
    assert "±" in text
    assert len(result_of(load_record(folder))) == 3


def test_a_run_without_results_is_refused_with_its_status(tmp_path):
    def stopped():
        with RunFolder.create(tmp_path / "run", new_record("t", command=(), seed=0)):
            raise RequestError("the network does not fit")

    with pytest.raises(RequestError):
        stopped()
    with pytest.raises(RecordError, match=r"refused.*the network does not fit"):
        write_report(tmp_path / "run")


def test_the_verdict_judges_the_weakest_age_with_the_best_compensation():
    result = make_result()
    met, text = verdict(
        result.points, software_accuracy=0.986, method="gdp", max_accuracy_loss=0.03
    )
    assert met
    assert text.startswith("Goal met: programmed by gradient descent")
    assert "1 day, with affine compensation" in text
    met, text = verdict(
        result.points, software_accuracy=0.986, method="verify", max_accuracy_loss=0.001
    )
    assert not met
    assert text.startswith("Goal not met: programmed by program-and-verify")


def test_spreads_of_equal_chips_are_zero_and_of_one_chip_unknown():
    same = spreads((make_result(1), make_result(1)))
    assert all(abs(row.accuracy_half) < 1e-12 for row in same)
    assert all(row.accuracy_half is None for row in spreads((make_result(1),)))


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
