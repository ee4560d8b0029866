"""One of several hosts that fight for a board, in a process of its own; prints what it did.

python fighter.py HOST:PORT SECONDS SEED: takes and gives back the lease, takes it from others, and
pulses cells in between, at random. One JSON object on stdout: each pulse that was applied as
(mutation, token, pulses), each refusal as (whether it held the lease, sentence).
"""

import json
import os
import random
import sys
import time

from drivers.board import Board, LeaseTerms, holder_name
from drivers.socket_transport import connect, split_host_port
from hil.core import Pulse
from hil.errors import CoreUnavailableError
from hil.info import PulseFamily


def fight(where, seconds, seed):
    """Fight for so long; give back what was applied and what was refused."""
    chance = random.Random(seed)
    board = Board(connect(*split_host_port(where)), address=f"tcp:{where}")
    core = board.chip().cores[0]
    applied, refused, locks = [], [], 0
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        move = chance.random()
        try:
            if move < 0.1:
                takeover = chance.random() < 0.3
                board.lock(LeaseTerms(lapse_s=5.0, holder=holder_name(), takeover=takeover))
                locks += 1
            elif move < 0.13:
                board.unlock()
            else:
                place = chance.randrange(20)
                pulse = Pulse.of(
                    PulseFamily.SET, device=0, rows=[place], cols=[place], amplitude=9, width=1
                )
                done = core.program(pulse)
                applied.append((board.last_mutation, board.token, done.pulses))
        except CoreUnavailableError as error:
            refused.append((bool(board.token), str(error)))
            board.token = 0  # it is over, or was never ours
    board.unlock()
    return {"pid": os.getpid(), "locks": locks, "applied": applied, "refused": refused}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(fight(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))) + "\n")
