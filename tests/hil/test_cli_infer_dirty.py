"""`hil infer` refuses a run whose cores are dirty; forced, it answers and everybody can read so."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from hil.chip_records import chip_folder
from hil.cli import app
from hil.dirty import DirtyBook, load_dirty
from hil.errors import RecordError
from hil.inference import DeploymentSettings, deploy, plan_network
from hil.kept import KeptNetwork, keep_deployment
from hil.record import new_record
from hil.run_folder import RunFolder
from hil.session import Session
from hil.training.networks.registry import NetworkSpec, build_network, initialise_

ADDRESS = "sim:ideal?rows=64&cols=16"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run that kept a small untrained network for digits."""
    shape = (1, 8, 8)
    spec = NetworkSpec(
        name="small",
        architecture="mlp",
        arguments={"image_shape": shape, "hidden": [8], "classes": 10},
        image_shape=shape,
        classes=10,
    )
    network = build_network(spec).eval()
    generator = torch.Generator().manual_seed(1)
    initialise_(network, generator)
    images = torch.rand(8, *shape, generator=generator)
    record = new_record("test", command=("hil", "run"), seed=0, address=ADDRESS)
    folder = tmp_path_factory.mktemp("kept") / "run"
    with (
        RunFolder.create(folder, record) as run,
        Session.open(ADDRESS, seed=0, folder=run) as session,
    ):
        plan = plan_network(network, images)
        made = deploy(session.chip, plan, DeploymentSettings(method="open_loop"))
        meaning = KeptNetwork(
            network=spec, trained=False, dataset="digits", class_names=tuple("0123456789")
        )
        keep_deployment(made, run.path, meaning)
        session.verified()
    return folder


@pytest.fixture
def dirty(kept, tmp_path):
    """A copy of it whose core was left dirty."""
    run = tmp_path / "run"
    shutil.copytree(kept, run)
    serial = json.loads((run / "record.json").read_text())["chip"]["serial"]
    DirtyBook(serial, run).mark(0, generation=0, reason="it was left half programmed")
    return run


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
    return path


def infer(picture, run, *options):
    return CliRunner().invoke(app, ["infer", str(picture), "--run", str(run), *options])


def test_a_verified_run_answers(kept, picture):
    done = infer(picture, kept)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["forced_dirty"] == []


def test_a_dirty_core_is_refused_with_the_way_out(dirty, picture):
    done = infer(picture, dirty)
    assert isinstance(done.exception, RecordError)
    assert "core 0" in str(done.exception)
    assert "left half programmed" in str(done.exception)
    assert "--force-dirty" in str(done.exception)
    assert load_dirty(dirty).forced == ()


def test_forced_it_answers_and_run_and_chip_say_so(dirty, picture):
    done = infer(picture, dirty, "--force-dirty")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["forced_dirty"] == [0]
    assert [note.cores for note in load_dirty(dirty).forced] == [(0,)]
    log = (chip_folder(found["chip_serial"]) / "audit.jsonl").read_text()
    assert "dirty cores forced" in log
