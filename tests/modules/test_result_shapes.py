"""What stands for a result has its sizes, strides and type; else the operation runs."""

import pytest
import torch

from lightning_prune.modules.result_shapes import outlined

aten = torch.ops.aten
IMAGE, LAST = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6).to(memory_format=torch.channels_last)
ROWS = torch.randn(2, 5, 6)

SURE = {
    "linear": (aten.linear.default, (ROWS, torch.randn(3, 6), torch.randn(3))),
    "conv1d": (aten.conv1d.default, (ROWS, torch.randn(3, 5, 3), None, [2], [1])),
    "conv2d": (aten.conv2d.default, (IMAGE, torch.randn(3, 4, 1, 1))),
    "conv2d in groups": (
        aten.conv2d.default,
        (IMAGE, torch.randn(8, 2, 3, 3), None, [1, 2], [1, 1], [1, 2], 2),
    ),
    "conv2d of one pixel": (
        aten.conv2d.default,
        (IMAGE[..., :1, :1].clone(), torch.randn(3, 4, 1, 1)),
    ),
    "channels last": (aten.conv2d.default, (LAST, torch.randn(3, 4, 1, 1))),
    "channels last in groups": (
        aten.conv2d.default,
        (LAST, torch.randn(4, 1, 3, 3), None, [1, 1], [1, 1], [1, 1], 4),
    ),
    "conv3d": (aten.conv3d.default, (IMAGE[None].clone(), torch.randn(3, 2, 2, 2, 2))),
    "convolution": (
        aten.convolution.default,
        (IMAGE, torch.randn(8, 2, 3, 3), None, [1, 2], [1, 1], [1, 2], False, [0, 0], 2),
    ),
    "mm": (aten.mm.default, (ROWS[0], torch.randn(3, 6).t())),
    "mm of what is transposed": (aten.mm.default, (ROWS[0].t(), torch.randn(5, 3))),
    "bmm": (aten.bmm.default, (ROWS, torch.randn(2, 3, 6).transpose(1, 2))),
    "addmm": (aten.addmm.default, (torch.randn(3), ROWS[0], torch.randn(3, 6).t())),
    "matmul": (aten.matmul.default, (ROWS, torch.randn(2, 6, 3))),
    "batch_norm": (
        aten.batch_norm.default,
        (IMAGE, None, None, torch.zeros(4), torch.ones(4), False, 0.1, 1e-5, True),
    ),
    "layer_norm": (aten.layer_norm.default, (ROWS, [6])),
    "cat": (aten.cat.default, ([IMAGE, IMAGE], 1)),
    "add": (aten.add.Tensor, (ROWS, ROWS)),
    "gelu": (aten.gelu.default, (ROWS,)),
}


@pytest.mark.parametrize(("func", "args"), SURE.values(), ids=SURE.keys())
def test_a_stand_in_is_like_the_result(func, args):
    made, result = outlined(func, args, {}), func(*args)
    assert (made.shape, made.stride(), made.dtype) == (result.shape, result.stride(), result.dtype)


UNSURE = {
    "another operation": (aten.softmax.int, (ROWS, -1)),
    "sizes that do not fit": (aten.linear.default, (ROWS, torch.randn(3, 5))),
    "another bias": (aten.linear.default, (ROWS, torch.randn(3, 6), torch.randn(4))),
    "channels last, of one channel": (aten.conv2d.default, (LAST, torch.randn(1, 4, 1, 1))),
    "channels last of the kernel": (
        aten.conv2d.default,
        (LAST, torch.randn(3, 4, 3, 3).to(memory_format=torch.channels_last)),
    ),
    "a kernel that is too large": (aten.conv2d.default, (IMAGE, torch.randn(3, 4, 7, 7))),
    "a transposed convolution": (
        aten.convolution.default,
        (IMAGE, torch.randn(4, 3, 1, 1), None, [1, 1], [0, 0], [1, 1], True, [0, 0], 1),
    ),
    "another sum": (aten.addmm.default, (torch.randn(5, 3), ROWS[0], torch.randn(6, 3))),
    "other groups": (aten.conv2d.default, (IMAGE, torch.randn(3, 2, 3, 3))),
    "statistics of the batch": (
        aten.batch_norm.default,
        (IMAGE, None, None, torch.zeros(4), torch.ones(4), True, 0.1, 1e-5, True),
    ),
    "another order in memory": (aten.gelu.default, (ROWS.transpose(1, 2),)),
    "another type": (aten.gelu.default, (ROWS.bfloat16(),)),
    "a broadcast sum": (aten.add.Tensor, (ROWS, ROWS[:1])),
    "whole numbers": (aten.add.Tensor, (ROWS, torch.ones(2, 5, 6, dtype=torch.long))),
    "parts that do not fit": (aten.cat.default, ([IMAGE, IMAGE[:1]], 1)),
}


@pytest.mark.parametrize(("func", "args"), UNSURE.values(), ids=UNSURE.keys())
def test_where_it_is_not_certain_the_operation_runs(func, args):
    assert outlined(func, args, {}) is None


def test_in_place_operations_return_what_they_are_given():
    x = ROWS.clone()
    assert outlined(aten.relu_.default, (x,), {}) is x
    assert outlined(aten.relu_.default, (x.requires_grad_(),), {}) is None
