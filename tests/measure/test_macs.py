from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torchvision
from support.nets import KeepsTable
from torch import Tensor, nn
from torch.backends import cudnn, mha, mkldnn

from lightning_prune.errors import ExampleInputsError
from lightning_prune.measure.macs import count_macs, macs_by_shapes

BATCH, LENGTH, WIDTH = 2, 5, 16


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1)
        return nn.functional.scaled_dot_product_attention(x, x, x)


# Each layer of an encoder: q, k, v and out projections, two attention products, two feed-forwards.
ENCODER = BATCH * LENGTH * (4 * WIDTH * WIDTH + 2 * LENGTH * WIDTH + 2 * WIDTH * 32)


@pytest.mark.parametrize(
    ("model", "shape", "macs"),
    [
        pytest.param(nn.Linear(16, 32), (1, 16), 1 * 16 * 32, id="linear"),
        pytest.param(nn.Linear(16, 32), (7, 16), 7 * 16 * 32, id="linear, batch of 7"),
        pytest.param(nn.Conv2d(3, 4, 3), (2, 3, 8, 8), 2 * 4 * 6 * 6 * 3 * 3 * 3, id="conv"),
        pytest.param(
            nn.Conv2d(4, 4, 3, groups=4), (1, 4, 8, 8), 4 * 6 * 6 * 3 * 3, id="depthwise conv"
        ),
        pytest.param(
            nn.ConvTranspose2d(3, 4, 3), (1, 3, 8, 8), 8 * 8 * 3 * 4 * 3 * 3, id="transposed conv"
        ),
        pytest.param(
            Attention(), (BATCH, LENGTH, WIDTH), 2 * BATCH * 5 * 5 * WIDTH, id="attention"
        ),
        pytest.param(
            nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True),
            (BATCH, LENGTH, WIDTH),
            ENCODER,
            id="encoder, whose fast path hides everything",
        ),
        pytest.param(
            nn.LSTM(16, 8, batch_first=True),
            (BATCH, LENGTH, 16),
            BATCH * LENGTH * (4 * 8) * (16 + 8),
            id="lstm, whose fused kernel hides everything",
        ),
        pytest.param(
            torch.compile(nn.Linear(16, 32), backend="eager"), (1, 16), 16 * 32, id="compiled"
        ),
        pytest.param(nn.ReLU(), (4, 4), 0, id="element-wise"),
    ],
)
def test_macs_are_arithmetic(model: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert count_macs(model, torch.zeros(shape)) == macs


def test_compiled_code_that_already_ran_is_counted() -> None:
    model = torch.compile(nn.Linear(16, 32), backend="eager")
    model(torch.zeros(1, 16))
    assert count_macs(model, torch.zeros(1, 16)) == 16 * 32


def test_zeros_count_like_other_weights() -> None:
    model = nn.Linear(16, 32)
    nn.init.zeros_(model.weight)
    assert count_macs(model, torch.zeros(1, 16)) == 16 * 32


def test_the_model_the_inputs_and_the_backends_stay_as_they_are() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Dropout())
    model.append(nn.Linear(4, 4))
    x = torch.full((3, 4), -1.0)
    flags = mkldnn.enabled, cudnn.enabled, mha.get_fastpath_enabled()
    state = torch.get_rng_state()
    count_macs(model, x)
    assert (mkldnn.enabled, cudnn.enabled, mha.get_fastpath_enabled()) == flags
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, torch.full((3, 4), -1.0))
    assert all(module.training for module in model.modules())
    assert model[0].num_batches_tracked == 0


def test_the_backends_are_restored_after_a_failure() -> None:
    flags = mkldnn.enabled, cudnn.enabled, mha.get_fastpath_enabled()
    with pytest.raises(ExampleInputsError, match=r"Linear\.forward"):
        count_macs(nn.Linear(4, 2), torch.zeros(1, 5))
    assert (mkldnn.enabled, cudnn.enabled, mha.get_fastpath_enabled()) == flags


def test_all_of_a_parameter_that_is_cut_out_and_given_to_a_layer():
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(4, 16))
            self.layer = nn.Linear(16, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.layer(self.table[0:4, :].unsqueeze(0))[0].mT

    model = Table()
    assert count_macs(model, torch.randn(2, 8)) == 4 * 16 * 8 + 2 * 8 * 4
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["vgg16_bn", "mobilenet_v3_small", "swin_t"])
def test_counted_by_shapes_it_is_the_same(name):
    model, x = torchvision.models.get_model(name), torch.randn(1, 3, 64, 64)
    assert macs_by_shapes(model, x) == count_macs(model, x)


@pytest.mark.parametrize("count", [count_macs, macs_by_shapes])
def test_what_the_model_keeps_elsewhere_is_right_and_can_be_trained_with(count):
    model, x = KeepsTable(), torch.randn(2, 8)
    assert count(model, x) == 2 * 8 * (8 + 2)
    model(x).sum().backward()
    assert torch.equal(KeepsTable.kept["table"], torch.arange(8.0).sigmoid())


def test_where_numbers_decide_they_are_counted_with():
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            nn.init.constant_(self.first.bias, 100.0)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return self.second(y) if y.detach().numpy().mean() > 50 else y

    assert macs_by_shapes(Decides(), torch.zeros(1, 4)) == 32


def test_threads_that_overlap_leave_every_switch_as_it_was():
    switches = (lambda: mkldnn.enabled, lambda: cudnn.enabled, mha.get_fastpath_enabled)
    before = [switch() for switch in switches]
    with ThreadPoolExecutor(4) as pool:
        counts = pool.map(lambda _: count_macs(nn.Linear(8, 16), torch.randn(4, 8)), range(60))
        assert set(counts) == {4 * 8 * 16}
    assert [switch() for switch in switches] == before
