import threading
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.utilities.compile import from_compiled
from torch import Tensor, nn

from lightning_prune.modules.twin import twin


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


def test_a_lightning_module_compiled_in_place_is_twinned_by_its_own_code() -> None:
    model = Plain()
    model.compile(backend="eager")
    with torch.inference_mode():
        twin(model).eval()(torch.randn(4, 3))
    assert model.norm.num_batches_tracked == 0


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    model = nn.Linear(2, 2)
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"Expected `model` to be something .* got Linear, .*lock"):
        twin(model)
