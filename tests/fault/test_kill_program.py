"""`hil program` killed with SIGKILL at boundaries of its journal, and resumed.

Laws: the final MVM error is that of the run left undisturbed, within noise; its pulses are exceeded
by no more than those in flight at a kill; nothing is lost, and the record says what happened. On a
chip without read noise and drift both are equal to the last digit.
"""

from __future__ import annotations

import signal

import pytest

QUIET = "hermes?seed=3&off=read_noise+output_noise+drift+relaxation"
NOISY = "hermes?seed=3"
IN_FLIGHT = 4 * 8 * 6
"""Most pulses of one request: every device of the matrix once."""
MOST_LINES = 260
"""The sweep kills at so many lines: no fewer than a run of the small matrix has."""

COUNTED_NONE = "the core has counted none of its pulses"
COUNTED_ALL = "the core has counted all of its pulses"
READ_NONE = "the core's counts do not tell; its cells hold nothing of it"
READ_BACK = "the core's counts do not tell; its cells were read back"

SENT = "sent, no end written"
UNSENT = "intent written, nothing sent"
TORN = "intent torn"
BOUNDARIES = {
    "before the first intent": [["before", "intent", 0]],
    TORN: [["torn", "intent", 0]],
    UNSENT: [["after", "intent", 2]],
    SENT: [["before", "end", 3]],
    "end written": [["after", "end", 1]],
    "killed, and its resumption in the same request": [
        ["after", "intent", 2],
        ["after", "intent", 0],
    ],
    "killed, its resumption before it settled, and the next one later": [
        ["before", "end", 3],
        ["before", "settled", 0],
        ["after", "intent", 1],
    ],
}
FORGOTTEN = {
    "gdp": (["after", "intent", 0], READ_NONE),
    "verify": (["before", "end", 0], READ_BACK),
}
"""By method: where it was killed, and what is then found. On the first request of all, counts that
were forgotten and counts of nothing are the same."""


@pytest.fixture(scope="module")
def found(killing):
    """Every run of this file, from one process."""
    quiet = {"method": "verify", "chip": QUIET}
    return killing(
        {
            "quiet": {**quiet, "kills": list(BOUNDARIES.values())},
            "noisy": {"method": "gdp", "chip": NOISY, "kills": [[["before", "end", 4]]]},
            **{
                method: {"method": method, "chip": f"{QUIET}&forgets=1", "kills": [[kill]]}
                for method, (kill, _) in FORGOTTEN.items()
            },
            "browned out": {
                **quiet,
                "chip": f"{QUIET}&browns_out=1",
                "later": QUIET,
                "kills": [[]],
                "more": 2,
            },
        }
    )


def assert_ended(came, kills):
    assert came["signals"] == [signal.SIGKILL] * len(kills) + [0]
    assert came["codes"][-1] == 0
    assert came["status"] == "done"
    assert came["error"] is None
    assert came["journal"]["unfinished"] == 0
    assert len(came["resumptions"]) == len(kills)


def assert_same(came, undisturbed):
    assert came["pulses"] == undisturbed["pulses"]
    for figure in ("mvm_error", "mvm_error_affine", "success_share", "pulses_total"):
        assert came["results"][figure] == undisturbed["results"][figure]


@pytest.fixture(params=BOUNDARIES)
def killed(found, request):
    came = found["quiet"]["killed"][list(BOUNDARIES).index(request.param)]
    return came, BOUNDARIES[request.param]


def test_a_killed_run_ends_as_if_nothing_had_been(found, killed):
    assert_ended(*killed)
    assert_same(killed[0], found["quiet"]["undisturbed"])


def test_ledgers_of_run_and_chip_miss_no_pulse(found, killed):
    came, kills = killed
    undisturbed = found["quiet"]["undisturbed"]
    assert undisturbed["ledger"] == undisturbed["worn"] == undisturbed["pulses"]
    assert came["pulses"] <= came["ledger"] <= came["pulses"] + len(kills) * IN_FLIGHT
    assert came["pulses"] <= came["worn"] <= came["pulses"] + len(kills) * IN_FLIGHT


@pytest.mark.parametrize(("name", "evidence"), [(SENT, COUNTED_ALL), (UNSENT, COUNTED_NONE)])
def test_only_pulses_that_were_not_applied_are_sent_again(found, name, evidence):
    came = found["quiet"]["killed"][list(BOUNDARIES).index(name)]
    (note,) = came["resumptions"]
    assert note["evidence"] == evidence
    assert note["sent_again"] == (0 if evidence == COUNTED_ALL else note["in_doubt"])
    assert note["in_doubt"] > 0


def test_the_record_says_that_a_line_was_torn_and_how_much_was_played_back(found):
    came = found["quiet"]["killed"][list(BOUNDARIES).index(TORN)]
    (note,) = came["resumptions"]
    assert (note["torn_bytes"] > 0, note["in_doubt"], note["evidence"]) == (True, 0, None)
    assert note["played"] > 0
    assert note["command"][1] == "resume"


def test_on_a_noisy_chip_error_and_pulses_agree_within_noise(found):
    undisturbed, (came,) = found["noisy"]["undisturbed"], found["noisy"]["killed"]
    assert_ended(came, [None])
    # Eight host seeds on this chip: 0.10...0.13 and 1340...1507 for a matrix four times as large.
    assert came["pulses"] <= 1.2 * undisturbed["pulses"] + IN_FLIGHT
    error = came["results"]["mvm_error_affine"]
    assert error == pytest.approx(undisturbed["results"]["mvm_error_affine"], rel=0.5)


def test_a_board_that_browns_out_gets_what_it_missed_and_a_second_resume_does_nothing(found):
    (came,) = found["browned out"]["killed"]
    assert came["codes"] == [3, 0, 0]
    (note,) = came["resumptions"]
    assert note["evidence"] == "the core has counted some of its pulses; its cells were read back"
    assert 0 < note["sent_again"] <= note["in_doubt"] // 2
    assert (came["status"], came["journal"]["unfinished"]) == ("done", 0)
    undisturbed = found["quiet"]["undisturbed"]
    assert came["pulses"] <= 1.2 * undisturbed["pulses"]
    error = came["results"]["mvm_error_affine"]
    assert error == pytest.approx(undisturbed["results"]["mvm_error_affine"], rel=0.5)


@pytest.mark.parametrize("method", FORGOTTEN)
def test_a_board_that_forgets_its_counts_and_its_clock_is_read_back(found, method):
    undisturbed, (came,) = found[method]["undisturbed"], found[method]["killed"]
    assert_ended(came, [None])
    (note,) = came["resumptions"]
    assert note["evidence"] == FORGOTTEN[method][1]
    if note["evidence"] == READ_NONE:
        assert note["sent_again"] == note["in_doubt"]
    else:
        assert note["sent_again"] < 0.2 * note["in_doubt"]
    assert came["pulses"] <= 1.2 * undisturbed["pulses"] + IN_FLIGHT
    error = came["results"]["mvm_error_affine"]
    assert error == pytest.approx(undisturbed["results"]["mvm_error_affine"], rel=0.5)


@pytest.mark.sweep
@pytest.mark.parametrize("when", ["before", "torn"])
@pytest.mark.parametrize("part", range(20))
def test_every_boundary_of_the_journal(killing, when, part):
    kills = [[[when, "line", number]] for number in range(part, MOST_LINES, 20)]
    runs = killing({"all": {"method": "verify", "chip": QUIET, "kills": kills}})["all"]
    assert runs["undisturbed"]["journal"]["lines"] <= MOST_LINES
    ended = [came["signals"] for came in runs["killed"]]
    assert ended.count([signal.SIGKILL, 0]) >= 5  # a run has more than a hundred lines
    for came in runs["killed"]:
        assert came["status"] == "done"
        assert came["pulses"] == runs["undisturbed"]["pulses"]
        assert came["journal"]["unfinished"] == 0
        error = came["results"]["mvm_error_affine"]
        wanted = runs["undisturbed"]["results"]["mvm_error_affine"]
        assert error == pytest.approx(wanted, rel=1e-9)
