"""The benchmark of static nets: what it says, and what it refuses."""

import sys

import pytest

from hil.errors import RequestError
from sim_backend.bench_nets import bench_nets

IDEAL = """
from types import SimpleNamespace
def compute(volt, ohm, wire, **_):
    return SimpleNamespace(currents=SimpleNamespace(output=volt.T @ (1.0 / ohm)))
"""


@pytest.fixture
def ideal_peer(tmp_path):
    """A Python whose badcrossbar knows of no wire."""
    (tmp_path / "badcrossbar.py").write_text(IDEAL)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)


def bench(**options):
    return bench_nets(sizes=(6,), batch=20, repeats=1, ngspice_sizes=(), **options)


def test_a_sparse_solution_agrees_with_ours():
    (timing,) = bench().sizes
    sparse = timing.peers[0]
    assert sparse.name == "scipy SuperLU"
    assert sparse.disagreement < 1e-13
    assert sparse.first_ratio == pytest.approx(sparse.first_s / timing.first_s)
    assert sparse.per_vector_ratio == pytest.approx(sparse.per_vector_s / timing.per_vector_s)


def test_a_peer_that_is_wrong_is_seen_to_be(ideal_peer):
    found = bench(peer_python=ideal_peer)
    peers = {peer.name: peer for peer in found.sizes[0].peers}
    assert found.worst_disagreement == peers["badcrossbar"].disagreement > 1e-5
    assert found.least_ratio("badcrossbar") == peers["badcrossbar"].per_vector_ratio > 0.0
    assert found.least_ratio("another") is None


def test_a_peer_that_is_not_there_is_named():
    with pytest.raises(RequestError, match="did not run in /nowhere/python"):
        bench(peer_python="/nowhere/python")
    with pytest.raises(RequestError, match="badcrossbar failed in false"):
        bench(peer_python="false")


def test_a_benchmark_of_nothing_is_refused():
    with pytest.raises(RequestError, match="must be 1 or more"):
        bench_nets(sizes=(0,))
