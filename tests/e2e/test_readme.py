"""README is true: its commands run, its examples run, and every command stands in it."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hil.cli import app
from hil.record import load_record

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
SHELL_BLOCKS = re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
NEEDS_DATA = re.compile(r"^hil run (kws|resnet9_cifar10)", re.MULTILINE)
"""Recipes that read data beside the project."""
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
}


def execute(command, folder, timeout_s=280):
    return subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def title(block):
    return block.splitlines()[-1][:40]


def shell_blocks():
    for block in SHELL_BLOCKS:
        marks = [pytest.mark.data] if NEEDS_DATA.search(block) else []
        yield pytest.param(block, id=title(block), marks=marks)


@pytest.mark.parametrize("block", list(shell_blocks()))
def test_every_command_in_the_readme_runs_and_gives_lines_of_json(
    block, tmp_path, data_dir, monkeypatch
):
    monkeypatch.setitem(ENVIRONMENT, "HIL_DATA", str(data_dir))
    for line in block.splitlines():
        command = shlex.split(line)
        done = execute(command, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        if command[0] == "hil" and "--help" not in command:
            lines = done.stdout.splitlines()
            assert len(lines) == 1 or command[1] == "compare-programming"
            assert all(isinstance(json.loads(line), dict) for line in lines)
    direct, encoded = tmp_path / "runs" / "direct", tmp_path / "runs" / "bytes"
    if encoded.exists():
        one, other = load_record(direct).journal, load_record(encoded).journal
        assert one.codes_digest == other.codes_digest


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=title)
def test_every_example_in_the_readme_runs(block, tmp_path):
    done = execute([sys.executable, "-W", "error", "-c", block], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_command_stands_in_the_readme():
    shown = {shlex.split(line)[1] for block in SHELL_BLOCKS for line in block.splitlines()}
    names = {c.name or c.callback.__name__ for c in app.registered_commands}
    names |= {group.name for group in app.registered_groups}
    assert names <= shown


def test_the_readme_shows_the_stable_python_example_word_for_word():
    example = """from hil import open_chip, program_matrix
with open_chip("sim:hermes?cores=2&seed=7") as chip:
    matrix = program_matrix(chip, weights, method="gdp")"""
    assert any(example in block for block in PYTHON_BLOCKS)


def test_every_local_link_of_the_readme_leads_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert links
    assert all((README.parent / link).exists() for link in links)
