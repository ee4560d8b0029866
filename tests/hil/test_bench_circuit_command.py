"""Command bench circuit: a run folder, a line of results, an exit code that follows the goal."""

import json

SMALL = ("--rows", 16, "--cols", 8, "--batch", 4, "--repeats", 1, "--no-errors", "--no-scaling")


def test_the_circuit_is_timed_from_the_command_line(hil):
    code, out, _ = hil("bench", "circuit", *SMALL)
    line = json.loads(out)
    assert (code, line["goal_met"], line["rows"], len(line["timings"])) == (0, True, 16, 5)


def test_a_goal_without_a_peer_is_not_met(hil):
    code, out, _ = hil("bench", "circuit", *SMALL, "--goal", 1)
    line = json.loads(out)
    assert (code, line["goal_met"]) == (1, False)
