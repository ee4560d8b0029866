"""The benchmark of the tile circuit: what it compares, what it refuses, what it draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.bench.circuit import CircuitBench, CircuitScaling, TilePeer
from hil.errors import RequestError
from sim_backend.bench_circuit import bench_circuit
from sim_backend.bench_circuit_tiles import draw_scaling

SMALL = {"rows": 24, "cols": 10, "batch": 6, "repeats": 1}


def _quick(**more: object) -> CircuitBench:
    return bench_circuit(**SMALL, with_errors=False, with_scaling=False, **more)


def test_every_solver_is_timed_and_compared_with_the_exact_one() -> None:
    found = _quick()
    seen = {(t.solver, t.idle): t for t in found.timings}
    assert len(seen) == 5
    assert seen["exact", "disconnected"].worst_error == 0.0
    assert 0 < seen["linear", "clamped"].worst_error < 1e-5
    assert 0 < seen["rapid", "disconnected"].worst_error < 1e-3
    assert all(t.per_vector_s > 0 and t.matmul_ratio > 0 for t in found.timings)
    assert found.peers == ()
    assert found.least_peer_ratio is None
    assert "--peer-python" in found.absent[0]


def test_a_python_without_the_peer_is_refused_with_its_own_words() -> None:
    with pytest.raises(RequestError, match="No such file"):
        _quick(peer_python="/nowhere/python")


def _fake_peer(folder: Path, *, bias: float) -> str:
    """A program that answers as the peer's script does, with the plain product times a bias."""
    file = folder / "peer"
    file.write_text(
        "#!/usr/bin/env python3\n"
        "import sys, numpy as np\n"
        "with np.load(sys.argv[-2]) as p:\n"
        "    if p['extension']: sys.exit('no kernel')\n"
        f"    y = p['codes'] @ p['weights'] * {bias}\n"
        "np.savez(sys.argv[-1], seconds=np.array([2.0, 8.0, 4.0]), outputs=y, peak_bytes=77,"
        " name='fake')\n"
    )
    file.chmod(0o755)
    return str(file)


def test_a_peer_is_compared_by_time_and_by_distance_from_the_exact_charge(tmp_path: Path) -> None:
    found = _quick(peer_python=_fake_peer(tmp_path, bias=1.1), peer_vectors=2)
    (peer,) = found.peers
    assert (peer.name, peer.vectors, peer.peak_bytes, peer.per_vector_s) == ("fake", 2, 77, 2.0)
    assert peer.worst_error == pytest.approx(0.1, abs=0.002)  # 24 rows lose next to nothing
    assert found.closer_than_peers
    rapid = next(t for t in found.timings if (t.solver, t.idle) == ("rapid", "disconnected"))
    assert peer.ratios["rapid, disconnected"] == pytest.approx(2.0 / rapid.per_vector_s)
    assert found.absent == ("aihwkit: ['no kernel']",)


def test_a_peer_that_is_closer_is_said_to_be() -> None:
    found = _quick()
    exact = TilePeer(
        name="perfect", vectors=1, per_vector_s=1.0, peak_bytes=0, worst_error=0.0, ratios={}
    )
    assert not found.model_copy(update={"peers": (exact,)}).closer_than_peers


@pytest.mark.parametrize(
    ("more", "sentence"), [({"peer_vectors": 0}, "must be 1 or more"), ({"compute": "gpu"}, "cpu")]
)
def test_what_makes_no_measurement_is_refused(more: dict[str, object], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        _quick(**more)


def test_the_scaling_is_drawn(tmp_path: Path) -> None:
    one = CircuitScaling(
        solver="rapid", idle="clamped", axis="rows", sizes=(1, 2), seconds=(1.0, 2.0), exponent=1.0
    )
    draw_scaling((one,), tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
