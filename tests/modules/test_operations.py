"""Names and schemas of operations."""

import pytest
import torch

from lightning_prune.modules.operations import argument_names, base_name, written_arguments

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("op", "name"),
    [
        (aten.add.Tensor, "aten::add"),
        (aten.add_.Tensor, "aten::add"),
        (aten.__and__.Tensor, "aten::__and__"),
        (aten._to_copy.default, "aten::_to_copy"),
    ],
    ids=str,
)
def test_the_base_name_has_no_overload_and_no_mark_of_in_place(op, name):
    assert base_name(op) == name


def test_arguments_are_named_in_order():
    assert argument_names(aten.linear.default) == ("input", "weight", "bias")


@pytest.mark.parametrize(
    ("op", "written"),
    [
        (aten.add.Tensor, ()),
        (aten.add_.Tensor, ((0, "self"),)),
        (aten.add.out, ((3, "out"),)),
    ],
    ids=str,
)
def test_what_an_operation_writes_into_is_told_by_its_schema(op, written):
    assert written_arguments(op) == written
