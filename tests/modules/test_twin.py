import threading
import warnings
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.utilities.compile import from_compiled
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torchmetrics import MeanMetric

from lightning_prune.modules.twin import clone, twin


class Cache(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.register_buffer("alias", self.calls, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


class AlwaysTraining(nn.BatchNorm1d):
    def train(self, mode: bool = True) -> Any:
        return super().train(True)


class Plain(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def training_step(self, batch: Tensor) -> Tensor:
        return self(batch)


def test_modes_of_a_twin_are_its_own() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout().eval())
    copied = twin(model)
    assert [module.training for module in copied.modules()] == [True, True, False]
    copied.eval()
    assert [module.training for module in model.modules()] == [True, True, False]


def test_tied_parameters_stay_tied() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    copied = twin(model)
    assert copied[1].weight is copied[0].weight
    assert copied[0].weight is not model[0].weight


def test_a_replacement_of_the_original_s_tensors_leaves_the_twin_as_it_was() -> None:
    model = nn.Linear(2, 3)
    copied = twin(model)
    model.weight.data = torch.zeros(1, 2)
    assert copied.weight.shape == (3, 2)


def test_a_twin_shares_parameters_but_not_buffers() -> None:
    model = nn.BatchNorm1d(3)
    copied = twin(model)
    assert copied.get_parameter("weight").data_ptr() == model.weight.data_ptr()
    assert copied.get_buffer("running_mean").data_ptr() != model.running_mean.data_ptr()


def test_a_cache_written_in_forward_stays_the_original_s() -> None:
    model = Cache()
    copied = twin(model)
    copied(torch.zeros(1))
    assert model.calls == 0
    assert copied.calls == 1
    assert copied.calls is copied.alias


def test_a_batchnorm_that_refuses_eval_mode_leaves_the_original_s_counter() -> None:
    model = AlwaysTraining(3)
    twin(model).eval()(torch.randn(4, 3))
    assert model.num_batches_tracked == 0


def test_a_compiled_lightning_module_is_twinned_by_its_own_code() -> None:
    compiled = from_compiled(torch.compile(Plain(), backend="eager"))
    with torch.inference_mode():
        twin(compiled).eval()(torch.randn(4, 3))
    assert compiled.norm.num_batches_tracked == 0


def test_steps_of_a_compiled_lightning_module_are_those_of_the_twin() -> None:
    compiled = from_compiled(torch.compile(Plain(), backend="eager"))
    copied = twin(compiled)
    copied.training_step(torch.randn(4, 3))
    assert copied.norm.num_batches_tracked == 1
    assert compiled.norm.num_batches_tracked == 0


def test_a_compiled_function_that_a_module_holds_is_kept() -> None:
    model = Plain()
    model.twice = torch.compile(lambda x: 2 * x, backend="eager")
    assert twin(model).twice(torch.ones(1)) == 2


def test_a_lightning_module_compiled_in_place_is_twinned_by_its_own_code() -> None:
    model = Plain()
    model.compile(backend="eager")
    with torch.inference_mode():
        twin(model).eval()(torch.randn(4, 3))
    assert model.norm.num_batches_tracked == 0


def computed_weights() -> dict[str, nn.Module]:
    """Return modules that keep a weight computed with gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        modules: dict[str, nn.Module] = {
            "weight_norm": weight_norm(nn.Linear(2, 3)),
            "spectral_norm": spectral_norm(nn.Linear(2, 3)),
            "parametrization": parametrizations.weight_norm(nn.Linear(2, 3)),
            "prune": prune.l1_unstructured(nn.Linear(2, 3), "weight", 0.5),
        }
    for module in modules.values():
        module(torch.ones(1, 2))
    return modules


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", computed_weights())
def test_weights_that_hooks_compute_follow_the_twin_s_parameters(
    name: str, dtype: torch.dtype
) -> None:
    module = computed_weights()[name].eval()
    copied = twin(module, dtype)
    x = torch.randn(4, 2)
    assert torch.allclose(copied(x.to(dtype)).float(), module(x), atol=1e-6)
    before = copied(x.to(dtype))
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.data = 2 * parameter.data + 1
    assert not torch.allclose(copied(x.to(dtype)), before)
    copied(x.to(dtype)).sum().backward()
    assert all(p.grad is not None for p in copied.parameters())
    assert all(p.grad is None for p in module.parameters())


class Mixed(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2).half()
        self.other = nn.Linear(2, 2)
        self.register_buffer("angles", torch.ones(2, dtype=torch.complex64))
        self.register_buffer("order", torch.arange(2))
        self.constant = torch.ones(2)
        self.records = [{"h": torch.ones(1)}]
        self.metric = MeanMetric()


def test_a_type_is_given_to_every_floating_tensor() -> None:
    model = Mixed()
    copied = twin(model, torch.float64)
    floating = [
        *copied.parameters(),
        copied.constant,
        copied.records[0]["h"],
        *(getattr(copied.metric, name) for name in copied.metric._defaults),
    ]
    assert {tensor.dtype for tensor in floating} == {torch.float64}
    assert (copied.angles.dtype, copied.order.dtype) == (torch.complex128, torch.int64)
    assert copied.dtype == torch.float64
    assert model.dtype == model.constant.dtype == torch.float32
    assert model.layer.weight.dtype == torch.float16


def test_only_parameters_of_another_type_leave_the_shared_memory() -> None:
    model = Mixed()
    copied = twin(model, torch.float32)
    assert copied.other.weight.data_ptr() == model.other.weight.data_ptr()
    assert copied.layer.weight.data_ptr() != model.layer.weight.data_ptr()


def test_a_scripted_module_is_converted() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = nn.Sequential(torch.jit.script(nn.Linear(2, 3)))
    assert twin(model, torch.float64)(torch.ones(1, 2).double()).dtype == torch.float64


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_run_in_another_type(kind: Any) -> None:
    model = kind(2, 3)
    x = torch.randn(4, 1, 2)
    assert torch.allclose(twin(model, torch.float64)(x.double())[0].float(), model(x)[0], atol=1e-6)


def test_parameters_that_a_forward_pass_writes_to_are_not_shared() -> None:
    model = nn.Embedding(4, 3, max_norm=0.1)
    before = model.weight.clone()
    twin(model)(torch.arange(4))
    assert torch.equal(model.weight, before)


def test_a_metric_of_the_twin_counts_for_itself() -> None:
    model = MeanMetric()
    copied = twin(model)
    copied.update(torch.ones(3))
    assert (model.weight, copied.weight) == (0, 3)
    assert (model.update_count, copied.update_count) == (0, 1)


def test_a_clone_shares_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    copied = clone(model)
    with torch.no_grad():
        for tensor in copied.state_dict().values():
            tensor += 1
    assert all(
        torch.equal(before + 1, after)
        for before, after in zip(
            model.state_dict().values(), copied.state_dict().values(), strict=True
        )
    )


def test_a_random_generator_goes_on_by_itself() -> None:
    model = nn.Linear(1, 1)
    model.generator = torch.Generator().manual_seed(0)  # type: ignore[assignment]
    before = model.generator.get_state()  # type: ignore[operator]
    torch.rand(3, generator=twin(model).generator)  # type: ignore[arg-type]
    assert torch.equal(model.generator.get_state(), before)  # type: ignore[operator]


@pytest.mark.parametrize("copy", [twin, clone])
def test_a_model_without_sizes_is_refused(copy: Any) -> None:
    with pytest.raises(ValueError, match=r"known sizes, but got 0.weight, .* Run the model once"):
        copy(nn.Sequential(nn.LazyLinear(2)))


@pytest.mark.parametrize("copy", [twin, clone])
def test_a_model_that_cannot_be_copied_is_refused(copy: Any) -> None:
    model = nn.Linear(2, 2)
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"Expected `model` to be something .* got Linear, .*lock"):
        copy(model)
