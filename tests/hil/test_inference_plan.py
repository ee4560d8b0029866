"""Plans: what becomes analog, what is folded, which ranges, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hil import RequestError
from hil.inference import PlanSettings, QuantisedReference, plan_network


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fill(module: nn.Module, seed: int = 1) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=generator))
    return module.eval()


@pytest.fixture(autouse=True)
def own_randomness() -> object:
    """Layers draw their first weights from the global generator; leave it as it was."""
    with torch.random.fork_rng():
        yield


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.a(x) + y


class Branch(Two):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.a(x) if x.sum() > 0 else x


class Pair(Two):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.a(x), x


class Bare(Two):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(4, 4))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.a(x) @ self.table.t()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


def no_statistics() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False))


def not_a_number() -> nn.Module:
    module = nn.Sequential(nn.ReLU(), nn.Linear(4, 4))
    with torch.no_grad():
        module[1].weight[2, 1] = float("nan")
    return module


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Two, ("2 tensors", "x, y", "one input")),
        (Branch, ("Branch", "control flow")),
        (Pair, ("tuple", "one tensor")),
        (Bare, ("table", "bare weight", "Linear")),
        (Recurrent, ("'rnn'", "LSTM", "digital")),
        (lambda: nn.Sequential(nn.ConvTranspose1d(4, 4, 3)), ("'0'", "ConvTranspose1d")),
        (lambda: nn.Sequential(nn.ReLU()), ("no Conv1d, Conv2d or Linear",)),
        (lambda: nn.Sequential(nn.LazyLinear(3)), ("'0'", "no shape yet")),
        (no_statistics, ("'1'", "running statistics")),
        (not_a_number, ("'1'", "finite")),
    ],
)
def test_a_network_that_cannot_run_is_refused_by_name(module: object, words: tuple) -> None:
    with pytest.raises(RequestError) as caught:
        plan_network(module(), draw(5, 4))
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (torch.zeros(3, 5), ("(3, 5)",)),
        (torch.zeros(0, 4), ("(0, 4)", "batch >= 1")),
        (torch.zeros(4), ("(4,)",)),
        (torch.zeros(3, 4, dtype=torch.uint8), ("uint8", "floats")),
        (torch.full((3, 4), float("inf")), ("12", "finite")),
    ],
)
def test_samples_that_do_not_fit_are_refused(samples: Tensor, words: tuple) -> None:
    with pytest.raises(RequestError) as caught:
        plan_network(nn.Sequential(nn.Linear(4, 2)), samples)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"range_quantile": 1.1}, "range_quantile 1.1 is outside"),
        ({"input_levels": 0}, "input_levels 0 is outside 1"),
        ({"sample_vectors": 1}, "sample_vectors 1 is outside 2"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        PlanSettings(**settings)


def test_planning_changes_nothing_of_the_network() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2))
    fill(module).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    plan_network(module, draw(20, 4))
    assert module.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_batch_norm_is_folded_only_where_it_sees_one_layer_alone() -> None:
    class Forks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))
            self.norm_a, self.norm_b, self.norm_c = (nn.BatchNorm1d(4) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            a = self.a(x)
            b = self.norm_b(self.b(torch.relu(self.norm_a(a)) + a))
            return self.norm_c(self.c(b)) + self.norm_c(b)

    plan = plan_network(fill(Forks()), draw(30, 4))
    assert plan.passed == {"norm_b"}
    assert [n for n, layer in plan.layers.items() if layer.norm is not None] == ["b"]


def test_batch_norm_over_tokens_is_not_taken_for_one_over_features() -> None:
    """(batch, 4 tokens, 4 features): the sizes agree, the axes do not."""
    module = fill(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    module[1].running_mean = draw(4, seed=3)
    x = draw(6, 4, 4)
    plan = plan_network(module, x, PlanSettings(input_levels=8191, weight_levels=8191))
    assert not plan.passed
    torch.testing.assert_close(QuantisedReference(plan).run(x), module(x), atol=5e-3, rtol=5e-3)


def test_layers_kept_digital_are_exact() -> None:
    module = fill(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)))
    x = draw(9, 4)
    plan = plan_network(module, x, PlanSettings(digital=("1",), input_levels=8191))
    assert list(plan.layers) == ["0"]
    with pytest.raises(RequestError, match=r"'2'.*known: 0, 1"):
        plan_network(module, x, PlanSettings(digital=("2",)))


def test_a_subclass_that_keeps_forward_is_analog_and_one_that_changes_it_is_refused() -> None:
    class Named(nn.Linear):
        label = "x"

    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(2 * x)

    x = draw(5, 4)
    assert plan_network(nn.Sequential(Named(4, 3)), x).layers["0"].rows == 4
    with pytest.raises(RequestError, match="bare weight"):
        plan_network(nn.Sequential(Doubled(4, 3)), x)


def test_the_input_range_is_the_quantile_of_inputs_that_are_not_all_zero() -> None:
    module = nn.Sequential(nn.Linear(2, 3))
    x = torch.zeros(1000, 2)
    x[:100, 0] = torch.linspace(0.01, 1.0, 100)
    plan = plan_network(module, x, PlanSettings(range_quantile=0.75))
    # 200 values remain, half of them zero: the 75 % quantile is the median of the ramp.
    assert plan.layers["0"].input_range == pytest.approx(0.5, abs=0.02)
    nothing = plan_network(module, torch.zeros(5, 2))
    assert nothing.layers["0"].input_range == 1.0
    assert torch.isfinite(QuantisedReference(nothing).run(torch.zeros(2, 2))).all()


def test_sample_vectors_come_from_every_place_of_an_image() -> None:
    """Each place of the image carries its own value, so samples say where they were taken."""
    module = nn.Sequential(nn.Conv2d(1, 2, 1))
    x = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8).repeat(256, 1, 1, 1)
    layer = plan_network(module, x, PlanSettings(input_levels=64)).layers["0"]
    assert set(layer.samples.ravel().tolist()) == set(range(1, 65))


def test_without_weight_levels_there_is_no_integer_reference() -> None:
    plan = plan_network(
        nn.Sequential(nn.Linear(4, 2)), draw(5, 4), PlanSettings(weight_levels=None)
    )
    with pytest.raises(RequestError, match="weight_levels=127"):
        QuantisedReference(plan)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(2, 5), r"\(2, 5\).*\(batch, 4\)"),
        (torch.zeros(2, 4, dtype=torch.int64), "int64.*floats"),
        (torch.full((1, 4), float("nan")), "4 values.*finite"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: Tensor, words: str) -> None:
    plan = plan_network(nn.Sequential(nn.Linear(4, 2)), draw(5, 4))
    with pytest.raises(RequestError, match=words):
        QuantisedReference(plan).run(images)
