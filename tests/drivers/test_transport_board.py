"""Emulated boards in one process: resets, brown-outs and boot text, and what a host makes of it."""

import pytest

from drivers.board import Board, LeaseTerms, LinkTiming, open_board
from drivers.device_memory import DeviceMemory
from drivers.fault_plan import FaultPlan
from drivers.fault_plan_transport import FaultyTransport
from drivers.serving_board import EmulatedBoard
from drivers.transport import MemoryTransport
from hil import Outcome, Pulse, PulseFamily
from hil.errors import CoreTimeoutError, CoreUnavailableError

FOREVER = LeaseTerms(lapse_s=0.0)
HASTY = LinkTiming(base_s=0.5, first_retry_s=0.001, longest_retry_s=0.002)
FOUR = [0, 1, 2, 3]
PULSE = Pulse.of(PulseFamily.SET, device=0, rows=FOUR, cols=FOUR, amplitude=1, width=1)


def transport_to(board):
    stream = board.open_stream()

    def serve(data):
        stream.accept(data)
        while board.work():
            pass
        parts = []
        while part := stream.take_output():
            parts.append(part)
        return b"".join(parts)

    return MemoryTransport(serve, release=stream.close)


def opened(board):
    return open_board(transport_to(board), address="fake:", timing=HASTY, lease=FOREVER)


def pulses_in(chip):
    return [int(core.cells.sum()) for core in chip.cores]


@pytest.mark.parametrize("seed", range(4))
def test_a_brownout_in_mid_program_is_an_unknown_outcome_and_a_part_of_the_pulses(
    make_cells, tmp_path, seed
):
    inner = make_cells()
    plan = FaultPlan(brownout_mid_program=2, seed=seed)
    memory = DeviceMemory(tmp_path / "memory")
    board = EmulatedBoard(inner, plan=plan, memory=memory)
    chip = opened(board)
    chip.cores[0].program(PULSE)
    with pytest.raises((CoreTimeoutError, CoreUnavailableError)):
        chip.cores[1].program(PULSE)
    chip.close()
    assert board.counts.brownouts == 1
    first, second = pulses_in(inner)
    assert (first, 0 <= second <= 4) == (4, True)
    with Board(transport_to(board), address="fake:", timing=HASTY) as again:
        assert again.last_mutation == 2
        assert again.reconcile(1).outcome is Outcome.DONE
        assert again.reconcile(2).outcome is Outcome.UNKNOWN
        assert again.reconcile(3).outcome is None
    with opened(board) as chip:  # and it goes on
        assert chip.cores[1].program(PULSE).outcome is Outcome.DONE
    assert pulses_in(inner) == [4, second + 4]
    memory.close()


def test_a_reset_ends_the_session_and_changes_the_boot_id(make_cells):
    board = EmulatedBoard(make_cells(), plan=FaultPlan(reset_after=12))
    boots = set()
    for _ in range(6):
        try:
            with Board(transport_to(board), address="fake:", timing=HASTY) as host:
                boots.add(host.boot)
                for _ in range(4):
                    host.temperature_kelvin()
        except (CoreTimeoutError, CoreUnavailableError):
            continue
    assert board.counts.resets >= 1
    assert len(boots) >= 2


def test_boot_text_before_and_between_frames_costs_no_session(make_cells):
    plan = FaultPlan(boot_text=True)
    with opened(EmulatedBoard(make_cells(), plan=plan)) as chip:
        assert chip.cores[0].program(PULSE).outcome is Outcome.DONE


@pytest.mark.parametrize("seed", range(3))
def test_pulses_are_applied_once_over_a_line_that_loses_repeats_flips_and_cuts(make_cells, seed):
    plan = FaultPlan(loss=0.1, flip=0.1, duplicate=0.1, split=0.2, seed=seed)
    inner = make_cells()
    line = FaultyTransport(transport_to(EmulatedBoard(inner)), plan)
    timing = LinkTiming(base_s=60.0, first_retry_s=0.001, longest_retry_s=0.002, silent_tries=1000)
    with open_board(line, address="fake:", timing=timing, lease=FOREVER) as chip:
        for _ in range(25):
            assert chip.cores[0].program(PULSE).pulses == 4
            chip.cores[1].program(PULSE)
    assert pulses_in(inner) == [100, 100]
    assert line.outward.lost + line.inward.lost > 0
    assert line.outward.flipped + line.inward.flipped > 0


def test_a_stream_that_closes_frees_its_lease_and_leaves_the_others(make_cells):
    board = EmulatedBoard(make_cells())
    gone = transport_to(board)
    open_board(gone, address="fake:", timing=HASTY, lease=LeaseTerms(lapse_s=0.0, holder="Ada"))
    with pytest.raises(CoreUnavailableError, match="owned by Ada"):
        opened(board)
    gone.close()
    with opened(board) as chip:
        assert chip.cores[0].program(PULSE).outcome is Outcome.DONE
