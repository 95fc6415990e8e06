import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.errors import ExampleInputsError, ExportError
from lightning_prune.formats.program import Exportable
from lightning_prune.modules.inputs import ExampleInputs


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: int = 2) -> Tensor:
        y = self.layer(x) * scale
        return y if mask is None else y * mask

    def encode(self, z: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {"code": self.layer(z[0] + z[1]), "sum": z[0].sum(1)}


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 6)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_inputs_are_called_as_the_parameters_are_in_their_order() -> None:
    inputs = {"scale": 3, "mask": torch.ones(5, 3), "x": torch.randn(5, 4)}
    exportable = Exportable.of(Net(), inputs)
    assert exportable.shapes == {"x": (None, 4), "mask": (None, 3)}
    assert exportable.output_names == ("output",)
    assert list(exportable.named(exportable.inputs)) == ["x", "mask"]
    assert exportable.named(exportable.inputs)["x"].shape == (5, 4)


def test_another_method_is_exported_with_names_of_what_it_takes_and_returns() -> None:
    pair = torch.randn(2, 4), torch.randn(2, 4)
    exportable = Exportable.of(Net(), lp.Call("encode", pair))
    assert list(exportable.shapes) == ["z_0", "z_1"]
    assert exportable.output_names == ("output_code", "output_sum")


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_batch_is_open_whatever_that_of_the_example(batch: int) -> None:
    exportable = Exportable.of(Net(), torch.randn(batch, 4))
    assert exportable.dynamic
    assert exportable.inputs.batch_size == batch
    module = exportable.program.module()
    for size in (1, 2, 7):
        assert module(torch.randn(size, 4)).shape == (size, 3)


def test_a_batch_that_the_code_fixes_stays_so() -> None:
    exportable = Exportable.of(Fixed(), torch.randn(4, 3))
    assert not exportable.dynamic
    assert exportable.shapes == {"x": (4, 3)}
    assert exportable.program_up_to(8) is exportable.program


def test_a_largest_batch_is_kept_to() -> None:
    module = Exportable.of(Net(), torch.randn(2, 4)).program_up_to(3).module()
    assert module(torch.randn(3, 4)).shape == (3, 3)
    with pytest.raises(Exception, match=r"<= ?4|size"):
        module(torch.randn(6, 4))


def test_no_row_of_the_example_goes_into_the_program() -> None:
    args, kwargs = Exportable.of(Net(), torch.randn(2, 4)).program.example_inputs
    assert kwargs == {}
    assert not any(tensor.any() for tensor in args)


def test_the_model_stays_as_it_is() -> None:
    model = Net().train()
    weight = model.layer.weight
    Exportable.of(model, lp.Call("encode", (torch.randn(2, 4), torch.randn(2, 4))))
    assert model.training
    assert model.layer.weight is weight
    assert "forward" not in vars(model)


def test_what_torch_does_not_follow_is_refused_with_its_reason() -> None:
    with pytest.raises(ExportError, match=r"that `torch.export` follows, but Branching raised"):
        Exportable.of(Branching(), torch.ones(2, 2))
    with pytest.raises(ExampleInputsError, match=r"calling it with tensors of shape \(2, 5\)"):
        Exportable.of(Net(), torch.ones(2, 5))


def test_batches_in_another_form_are_refused() -> None:
    exportable = Exportable.of(Net(), torch.randn(2, 4))
    two = ExampleInputs((torch.randn(2, 4), torch.ones(2, 3)))
    with pytest.raises(ValueError, match=r"hold what `example_inputs` holds, \['x'\], but got 2"):
        exportable.named(two)
