"""The training run: it learns, repeats from its seed, resumes exactly, and refuses clearly."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from hil.errors import RecordError, RequestError
from hil.training.checkpoint import save_checkpoint
from hil.training.settings import EpochReport, TrainingResult, TrainingSettings
from hil.training.train import train
from hil.training.weight_noise import analog_layers

SHORT = TrainingSettings(network="mlp-digits", epochs=4, batch_size=128, noise_eta=0.05)


class StoppedError(Exception):
    """What a test raises to interrupt a run."""


def stop_after(epochs: int) -> object:
    def on_epoch(report: EpochReport) -> None:
        if report.epoch == epochs:
            raise StoppedError

    return on_epoch


def weights(result: TrainingResult) -> dict[str, torch.Tensor]:
    return result.module.state_dict()


def assert_same_weights(one: TrainingResult, other: TrainingResult) -> None:
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name


def test_resnet9_learns_digits_in_few_epochs():
    result = train(TrainingSettings(network="resnet9-digits", epochs=4))
    assert result.metadata.software_accuracy > 0.9
    assert result.history[-1].loss < 0.5 * result.history[0].loss
    assert not result.module.training
    for name, layer in analog_layers(result.module).items():
        weight = layer.weight.detach()
        ratio = float(weight.abs().max() / weight.std(correction=0))
        assert ratio < 2.2, name  # clipped at 2 sigma of the layer before the clip


def test_metadata_says_how_it_was_made_and_what_it_reaches():
    result = train(SHORT, command="hil train --network mlp-digits")
    metadata = result.metadata
    assert metadata.command == "hil train --network mlp-digits"
    assert metadata.settings == SHORT.model_dump(mode="json")
    assert metadata.test_samples == 360
    assert [noisy.eta for noisy in metadata.noisy_accuracy] == [0.05, 0.08]
    assert all(
        0.1 < noisy.mean <= metadata.software_accuracy + 0.02 for noisy in metadata.noisy_accuracy
    )


def test_same_seed_same_weights_other_seed_other_weights():
    one, same = train(SHORT), train(SHORT)
    other = train(SHORT.model_copy(update={"seed": 1}))
    assert_same_weights(one, same)
    assert [r.loss for r in one.history] == [r.loss for r in same.history]
    assert not torch.equal(
        weights(one)["layers.linear0.weight"], weights(other)["layers.linear0.weight"]
    )


@pytest.mark.parametrize(
    "settings",
    [SHORT, TrainingSettings(epochs=2, batch_size=256), SHORT.model_copy(update={"momentum": 0.0})],
    ids=["mlp", "resnet9", "no momentum"],
)
def test_interrupted_run_ends_with_the_weights_of_the_uninterrupted_one(tmp_path, settings):
    path = tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        train(settings, state_path=path, on_epoch=stop_after(1))
    resumed = train(settings, state_path=path)
    assert_same_weights(resumed, train(settings))
    assert [report.epoch for report in resumed.history] == list(range(1, settings.epochs + 1))


def test_run_that_is_done_gives_its_result_again(tmp_path):
    path = tmp_path / "state.safetensors"
    done = train(SHORT, state_path=path)
    again = train(SHORT, state_path=path)
    assert_same_weights(again, done)
    assert again.metadata == done.metadata
    assert again.history == done.history


def test_progress_counts_epochs_and_ends_with_nothing_left():
    seen: list[EpochReport] = []
    result = train(SHORT, on_epoch=seen.append)
    assert tuple(seen) == result.history
    assert [(report.epoch, report.epochs) for report in seen] == [(n, 4) for n in (1, 2, 3, 4)]
    assert seen[0].remaining_s > 0
    assert seen[-1].remaining_s == 0
    assert all(0 <= report.accuracy <= 1 for report in seen)


def test_state_of_other_settings_is_refused_and_kept(tmp_path):
    path = tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        train(SHORT, state_path=path, on_epoch=stop_after(1))
    before = path.read_bytes()
    with pytest.raises(RequestError, match=r"learning_rate 0\.1, asked is 0\.2.*delete it"):
        train(SHORT.model_copy(update={"learning_rate": 0.2}), state_path=path)
    assert path.read_bytes() == before


def test_file_that_is_no_state_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"something else")
    with pytest.raises(RecordError, match="no readable safetensors"):
        train(SHORT, state_path=path)
    assert path.read_bytes() == b"something else"


def test_network_and_dataset_must_fit():
    with pytest.raises(RequestError, match=r"mlp-mnist.*\(1, 28, 28\).*digits.*\(1, 8, 8\)"):
        train(SHORT.model_copy(update={"network": "mlp-mnist"}))


def test_diverging_run_says_what_to_lower():
    wild = SHORT.model_copy(update={"learning_rate": 1e30, "noise_eta": 0.0})
    with pytest.raises(RequestError, match=r"diverged; lower learning_rate \(now 1e\+30\)"):
        train(wild)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_device_that_is_not_there_is_refused():
    with pytest.raises(RequestError, match="'cuda' is not available"):
        train(SHORT.model_copy(update={"device": "cuda"}))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_learns_alike_and_hands_back_a_cpu_module():
    result = train(TrainingSettings(network="resnet9-digits", epochs=4, device="cuda"))
    assert result.metadata.software_accuracy > 0.9
    assert {p.device.type for p in result.module.parameters()} == {"cpu"}


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"noise_eta": -0.1}, {"clip_sigma": 0.5}, {"seed": -1}, {"lr": 0.1}]
)
def test_settings_outside_their_range_are_refused(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        TrainingSettings(**change)


def test_a_run_starts_from_the_weights_of_a_checkpoint(tmp_path):
    first = train(SHORT)
    path = tmp_path / "first.safetensors"
    save_checkpoint(path, first.module, first.metadata)
    gentle = SHORT.model_copy(
        update={"start": str(path), "epochs": 1, "learning_rate": 1e-9, "noise_eta": 0.0}
    )
    went_on = train(gentle)
    for name, value in weights(first).items():
        if name.endswith("weight"):
            torch.testing.assert_close(weights(went_on)[name], value, rtol=1e-3, atol=1e-5)
    assert went_on.metadata.settings["start"] == str(path)


def test_a_start_of_another_network_is_refused():
    with pytest.raises(RequestError, match="'resnet9-digits', the run trains 'mlp-digits'"):
        train(SHORT.model_copy(update={"start": "resnet9-digits"}))
