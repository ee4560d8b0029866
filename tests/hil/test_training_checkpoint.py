"""Checkpoints: the round trip, every refusal with its sentence, and the bundled one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hil.errors import HilError, RecordError, RequestError
from hil.training import CheckpointMetadata, load_checkpoint, load_dataset, save_checkpoint
from hil.training.checkpoint import BUNDLED, HEADER_KEY, bundled_checkpoints
from hil.training.evaluate import accuracy, noisy_accuracy
from hil.training.networks import build_network, initialise_, network_spec
from hil.training.streams import stream


def some_metadata(network: str = "mlp-digits") -> CheckpointMetadata:
    return CheckpointMetadata(
        network=network_spec(network),
        dataset="digits",
        test_sha256="0" * 64,
        test_samples=360,
        software_accuracy=0.5,
        noisy_accuracy=(),
        command="hil train",
        seed=0,
        settings={},
        versions={},
    )


def some_network(network: str = "mlp-digits") -> nn.Module:
    module = build_network(network_spec(network))
    initialise_(module, stream(0, "weights"))
    return module


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, some_network(), some_metadata())
    return path


def rewrite(path: Path, tensors: dict[str, Tensor], **metadata: object) -> None:
    """Write the file again with other tensors or other fields in its metadata."""
    document = json.loads(some_metadata().model_dump_json()) | metadata
    save_file(tensors, path, metadata={HEADER_KEY: json.dumps(document)})


@pytest.mark.parametrize("network", ["mlp-digits", "resnet9-digits"])
def test_round_trip_keeps_every_bit_and_the_metadata(tmp_path, network):
    path, module = tmp_path / "deep" / "net.safetensors", some_network(network)
    save_checkpoint(path, module, some_metadata(network))
    loaded, metadata = load_checkpoint(path)
    assert metadata == some_metadata(network)
    assert not loaded.training
    for name, value in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    images = load_dataset("digits").test.images[:4]
    assert torch.equal(loaded(images), module.eval()(images))


def test_same_checkpoint_same_bytes(saved, tmp_path):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, some_network(), some_metadata())
    assert other.read_bytes() == saved.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.safetensors", "other.safetensors"]


def test_missing_tensor_is_named_with_its_shape(saved):
    tensors = load_file(saved)
    del tensors["layers.linear1.bias"]
    rewrite(saved, tensors)
    with pytest.raises(RequestError, match=r"lacks tensor 'layers.linear1.bias'.*\(10,\).*train"):
        load_checkpoint(saved)


def test_extra_tensor_is_named(saved):
    rewrite(saved, load_file(saved) | {"layers.linear9.bias": torch.zeros(3)})
    with pytest.raises(RequestError, match=r"tensor 'layers.linear9.bias' \(3,\).*does not have"):
        load_checkpoint(saved)


def test_wrong_shape_is_named_with_found_and_wanted(saved):
    rewrite(saved, load_file(saved) | {"layers.linear0.weight": torch.zeros(64, 65)})
    with pytest.raises(RequestError, match=r"linear0.weight.*\(64, 65\).*\(64, 64\)") as caught:
        load_checkpoint(saved)
    assert caught.value.fields["found"] == (64, 65)
    assert caught.value.fields["wanted"] == (64, 64)


def test_wrong_type_is_named(saved):
    tensors = load_file(saved)
    rewrite(saved, tensors | {"layers.linear0.bias": tensors["layers.linear0.bias"].half()})
    with pytest.raises(RequestError, match=r"linear0.bias.*float16.*float32"):
        load_checkpoint(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_counted_and_never_written(saved, tmp_path, value):
    tensors = load_file(saved)
    tensors["layers.linear0.weight"][3, 4:6] = value
    rewrite(saved, tensors)
    with pytest.raises(RequestError, match=r"linear0.weight.*2 of 4096 values NaN or infinite"):
        load_checkpoint(saved)
    module = some_network()
    with torch.no_grad():
        next(module.parameters())[0, 0] = value
    target = tmp_path / "new.safetensors"
    with pytest.raises(RequestError, match="nothing was written"):
        save_checkpoint(target, module, some_metadata())
    assert not target.exists()


def test_module_of_another_network_is_not_written(tmp_path):
    with pytest.raises(RequestError, match="lacks tensor"):
        save_checkpoint(tmp_path / "x.safetensors", some_network(), some_metadata("resnet9-digits"))


def test_checkpoint_of_a_network_unknown_here_is_refused(saved):
    spec = json.loads(network_spec("mlp-digits").model_dump_json()) | {"architecture": "vgg"}
    rewrite(saved, load_file(saved), network=spec)
    with pytest.raises(RequestError, match=r"architecture 'vgg'.*known: resnet9"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"software_accuracy": 1.5}, "software_accuracy"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_metadata_of_another_version_is_a_record_error(saved, fields, sentence):
    rewrite(saved, load_file(saved), **fields)
    with pytest.raises(RecordError, match=sentence):
        load_checkpoint(saved)


def test_any_damaged_file_is_a_record_error(saved, tmp_path):
    whole = saved.read_bytes()
    for content in (b"", b"junk", whole[:-1], whole[:40], b"\xff" * 64, whole + b"x"):
        saved.write_bytes(content)
        with pytest.raises(RecordError, match="no readable safetensors file"):
            load_checkpoint(saved)
    with pytest.raises(RecordError, match="does not exist"):
        load_checkpoint(tmp_path / "nowhere.safetensors")
    with pytest.raises(RecordError, match="does not exist"):
        load_checkpoint(tmp_path)


def test_flipped_header_bits_never_give_another_exception(saved):
    whole = saved.read_bytes()
    for position in range(0, 900, 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        saved.write_bytes(bytes(damaged))
        try:
            load_checkpoint(saved)
        except HilError:
            continue


def test_safetensors_file_of_someone_else_is_no_checkpoint(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(RecordError, match="not a checkpoint"):
        load_checkpoint(path)


def test_unknown_bundled_name_lists_the_bundled_ones():
    with pytest.raises(RequestError, match=r"resnet8-digits.*resnet9-digits"):
        load_checkpoint("resnet8-digits")


def test_bundled_network_reaches_the_accuracy_it_states_on_the_fixed_split():
    module, metadata = load_checkpoint("resnet9-digits")
    test = load_dataset(metadata.dataset).test
    assert metadata.test_sha256 == test.sha256
    measured = accuracy(module, test)
    assert measured == pytest.approx(metadata.software_accuracy, abs=1 / len(test))
    assert measured >= 0.985
    assert "hil train --network resnet9-digits" in metadata.command


def test_bundled_network_stands_weight_noise_of_a_pcm_chip():
    module, metadata = load_checkpoint("resnet9-digits")
    test = load_dataset(metadata.dataset).test
    mean, _ = noisy_accuracy(module, test, 0.08, draws=5, seed=12)
    assert mean >= 0.97


def test_every_bundled_checkpoint_is_small():
    assert bundled_checkpoints() == ("analognet-kws", "resnet9-cifar10", "resnet9-digits")
    assert all(path.stat().st_size < 3 * 2**20 for path in BUNDLED.iterdir())
