from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lightning_prune.modules.tensor_copies import TensorCopies, is_plain


def own(dtype: torch.dtype | None = None) -> TensorCopies:
    return TensorCopies(lambda tensor: False, dtype)


def sharing(tensor: Tensor, dtype: torch.dtype | None = None) -> TensorCopies:
    return TensorCopies(lambda other: other is tensor, dtype)


def same_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


class Named(Tensor):
    pass


class Scale(nn.Parameter):
    pass


def quantized() -> Tensor:
    return torch.quantize_per_tensor(torch.arange(3.0), 0.5, 0, torch.qint8)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).view(2, 3),
        torch.arange(6.0).view(2, 3).t(),
        torch.arange(6.0)[1::2],
        torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.ones(1).expand(5),
        torch.tensor(3),
        torch.empty(0, 4),
        torch.tensor([1 + 2j, 3j]),
        torch.tensor([1 + 2j, 3j]).conj(),
        torch.tensor([1 + 2j, 3j]).conj().imag,
        torch.arange(3.0).to_sparse(),
        torch.arange(3.0).as_subclass(Named),
        nn.Parameter(torch.arange(3.0), requires_grad=False),
        Scale(torch.arange(3.0)),
        nn.Buffer(torch.arange(3.0)),
    ],
    ids=(
        "matrix transposed strided channels_last expanded number empty complex conjugate negative "
        "sparse subclass parameter parameter_subclass buffer"
    ).split(),
)
def test_a_copy_is_equal_and_apart(tensor: Tensor) -> None:
    made = own()(tensor)
    assert made is not tensor
    assert type(made) is type(tensor)
    assert torch.equal(made.to_dense(), tensor.to_dense())
    assert made.requires_grad == tensor.requires_grad
    assert (made.layout, made.dtype) == (tensor.layout, tensor.dtype)
    if tensor.layout == torch.strided and not tensor.is_neg():
        assert made.stride() == tensor.stride()
        assert not (made.numel() and same_memory(made, tensor))


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")
@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
def test_what_is_quantized_or_nested_is_cloned() -> None:
    copies = own(torch.float64)
    assert torch.equal(copies(quantized()).dequantize(), quantized().dequantize())
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    assert copies(nested).unbind()[1].tolist() == [1.0, 1.0, 1.0]


def test_fake_tensors_and_those_without_numbers_stay_so() -> None:
    with FakeTensorMode() as mode:
        fake = torch.zeros(2, 3)
    made = own(torch.float64)(fake)
    assert (type(made), made.dtype, made.fake_mode) == (type(fake), torch.float64, mode)
    assert not is_plain(fake)
    assert own()(torch.zeros(2, device="meta")).is_meta


@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_views_of_one_memory_stay_views_of_one_memory(dtype: torch.dtype | None) -> None:
    whole = torch.arange(6.0)
    copies = own(dtype)
    part, all_of_it = copies(whole[2:4]), copies(whole)
    part.add_(10)
    assert all_of_it.tolist() == [0, 1, 12, 13, 4, 5]
    assert whole.tolist() == [0, 1, 2, 3, 4, 5]
    assert part.dtype == (dtype or torch.float32)


@pytest.mark.parametrize(
    ("tensor", "dtype"),
    [
        (torch.ones(2), torch.float64),
        (torch.ones(2, dtype=torch.float16), torch.float64),
        (torch.ones(2, dtype=torch.complex64), torch.complex128),
        (torch.ones(2, dtype=torch.int32), torch.int32),
        (torch.ones(2, dtype=torch.bool), torch.bool),
        (torch.ones(2).to_sparse(), torch.float64),
    ],
    ids=str,
)
def test_only_floating_types_change(tensor: Tensor, dtype: torch.dtype) -> None:
    assert own(torch.float64)(tensor).dtype == dtype


def test_memory_is_shared_where_it_is_asked_for_and_with_later_views() -> None:
    shared = nn.Parameter(torch.zeros(2, 3))
    copies = sharing(shared)
    made, view, other = copies(shared), copies(shared.t()), copies(torch.zeros(6))
    with torch.no_grad():
        shared[0, 2] = 5
    assert made[0, 2] == view[2, 0] == 5
    assert made is not shared
    assert type(made) is nn.Parameter
    assert other.sum() == 0


def test_what_changes_its_type_is_not_shared() -> None:
    shared = nn.Parameter(torch.zeros(2))
    made = sharing(shared, torch.float64)(shared)
    with torch.no_grad():
        made += 1
    assert shared.tolist() == [0, 0]
    assert same_memory(sharing(shared, torch.float32)(shared), shared)


def test_a_result_of_a_computation_becomes_a_leaf() -> None:
    weight = torch.ones(2, requires_grad=True)
    made = own()(weight * 2)
    assert made.is_leaf
    assert not made.requires_grad
    assert own()(weight).requires_grad


def test_attributes_of_tensors_stay() -> None:
    tensor: Any = nn.Parameter(torch.zeros(2))
    tensor.weight_decay = False
    made: Any = own()(tensor)
    assert made.weight_decay is False


def test_tensors_of_inference_become_usual_ones() -> None:
    with torch.inference_mode():
        tensor = torch.ones(2)
    made = own()(tensor)
    made += 1
    assert not made.is_inference()
