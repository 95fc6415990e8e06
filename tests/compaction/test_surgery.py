"""Surgery cuts a model in place, and can take everything back."""

import copy

import pytest
import torch
from support.oracle import half_of_every_group, outputs, randomize, relative_error, sliced
from support.tiny_zoo import ZOO
from torch import nn

from lightning_prune.compaction.plan import Plan, plan_removal
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.coupling import couple
from lightning_prune.runtime.attention import TensorSizedAttention
from lightning_prune.units.group import Axis

zoo = pytest.mark.parametrize("example", ZOO.values(), ids=ZOO)


def planned(model: nn.Module, inputs) -> Plan:
    coupling = couple(model, inputs)
    return plan_removal(coupling.groups, half_of_every_group(coupling.groups), coupling.grouped)


def snapshot(model: nn.Module) -> dict[str, object]:
    """Return everything that a surgery could change."""
    tensors = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        tensors[name] = (id(tensor), tensor.data_ptr(), tensor.stride(), tensor.requires_grad)
    gradients = {name: id(p.grad) for name, p in model.named_parameters() if p.grad is not None}
    attributes = {
        (name, key): value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, (int, str, float, tuple))
    }
    return {"tensors": tensors, "gradients": gradients, "attributes": attributes}


@zoo
def test_undo_restores_everything(example):
    model = randomize(example.build())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, values = snapshot(model), copy.deepcopy(model.state_dict())
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    surgery = Surgery(model)
    plan = planned(model, example.inputs())
    surgery.apply(plan)
    assert snapshot(model) != before
    surgery.undo()
    assert snapshot(model) == before
    assert all(torch.equal(tensor, values[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, gradients[name]) for name, p in model.named_parameters())


@zoo
def test_it_cuts_what_the_oracle_cuts(example):
    model = randomize(example.build().double())
    inputs = tuple(x.double() for x in example.inputs())
    coupling = couple(model, inputs)
    removed = half_of_every_group(coupling.groups)
    expected = sliced(model, coupling, removed)
    Surgery(model).apply(plan_removal(coupling.groups, removed, coupling.grouped))
    pairs = zip(expected.state_dict().items(), model.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)
    assert relative_error(outputs(expected, inputs), outputs(model, inputs)) == 0


@zoo
def test_names_and_identities_stay(example):
    model = example.build()
    names = list(model.state_dict())
    identities = [id(t) for t in (*model.parameters(), *model.buffers())]
    Surgery(model).apply(planned(model, example.inputs()))
    assert list(model.state_dict()) == names
    assert [id(t) for t in (*model.parameters(), *model.buffers())] == identities
    assert all(p.is_leaf and p.requires_grad and p.grad is None for p in model.parameters())


@zoo
def test_sizes_in_attributes_are_those_of_the_tensors(example):
    model = example.build()
    Surgery(model).apply(planned(model, example.inputs()))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert (module.out_features, module.in_features) == module.weight.shape
        if isinstance(module, nn.Conv2d):
            assert module.out_channels == len(module.weight)
            assert module.in_channels == module.weight.shape[1] * module.groups
        if isinstance(module, nn.BatchNorm2d):
            assert module.num_features == len(module.running_mean)


def test_tied_tensors_stay_tied():
    example = ZOO["tied"]
    model = example.build()
    Surgery(model).apply(planned(model, example.inputs()))
    assert model.again.weight is model.inner.weight
    assert model.again.weight.shape == (4, 4)


def cut(tensor: str, dim: int, *kept: int) -> Plan:
    return Plan({Axis(tensor, dim): torch.tensor(kept)}, (), {})


def test_gradients_of_what_is_cut_are_dropped_and_others_kept():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    Surgery(model).apply(cut("0.weight", 0, 1, 2))
    assert model[0].weight.grad is None
    assert model[1].weight.grad is not None


def test_frozen_parameters_stay_frozen():
    model = nn.Linear(3, 4).requires_grad_(False)
    Surgery(model).apply(cut("weight", 0, 1, 2))
    assert model.weight.shape == (2, 3)
    assert not model.weight.requires_grad


def test_modules_that_are_not_cut_keep_attributes_that_do_not_fit():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].in_features = 99
    Surgery(model).apply(cut("0.weight", 0, 1, 2))
    assert (model[0].out_features, model[1].in_features) == (2, 99)


class Functional(nn.Module):
    """A depthwise convolution whose number of groups no attribute repeats."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.each = nn.Parameter(torch.randn(8, 1, 3, 3))
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.first(x)
        return self.last(nn.functional.conv2d(x, self.each, groups=x.shape[1]))


def test_a_grouped_convolution_without_an_attribute_is_cut_all_the_same():
    model, inputs = randomize(Functional()), (torch.randn(2, 3, 6, 6),)
    Surgery(model).apply(planned(model, inputs))
    assert model.each.shape == (4, 1, 3, 3)
    assert model(*inputs).shape == (2, 2, 4, 4)


def test_two_applications_are_undone_together():
    model = nn.Linear(3, 4)
    before, surgery = snapshot(model), Surgery(model)
    surgery.apply(cut("weight", 0, 0, 1, 2))
    surgery.apply(cut("weight", 0, 0, 2))
    assert model.weight.shape == (2, 3)
    surgery.undo()
    assert snapshot(model) == before


def test_channels_last_stays_channels_last():
    layer = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    surgery = Surgery(layer)
    surgery.replace(layer.weight, layer.weight.detach()[:5])
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert not layer.weight.is_contiguous()
    surgery.replace(layer.bias, layer.bias.detach()[:5])
    assert layer.bias.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("undone", [False, True])
def test_a_model_trains_on_while_an_older_output_lives(dtype, undone):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(dtype)
    x = torch.randn(5, 3, dtype=dtype)
    older = model(x)
    surgery = Surgery(model)
    surgery.apply(planned(model, x))
    if undone:
        surgery.undo()
    model(x).sum().backward()
    assert [p.grad.shape for p in model.parameters()] == [p.shape for p in model.parameters()]
    assert older.requires_grad


class Other(nn.Linear):
    """A class to which a module is brought."""


def test_classes_and_attributes_are_undone():
    model = nn.Sequential(nn.Linear(3, 4), nn.MultiheadAttention(4, 2))
    before, classes = snapshot(model), [type(m) for m in model.modules()]
    surgery = Surgery(model)
    surgery.set_class(model[0], Other)
    surgery.set_class(model[0], Other)
    surgery.free_attention(model[1])
    surgery.set(model[0], "out_features", 2)
    assert [type(model[0]), type(model[1])] == [Other, TensorSizedAttention]
    surgery.undo()
    assert [type(m) for m in model.modules()] == classes
    assert snapshot(model) == before
    assert model[1]._qkv_same_embed_dim is True


def test_attention_is_freed_where_it_is_cut_and_only_there():
    model = nn.ModuleList([nn.MultiheadAttention(4, 2) for _ in range(2)])
    Surgery(model).apply(cut("0.out_proj.weight", 0, 1, 2))
    assert [type(m) for m in model] == [TensorSizedAttention, nn.MultiheadAttention]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_with_padding_runs_its_cut_layers_in_eval_mode():
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    model = randomize(nn.TransformerEncoder(layer, 2)).eval()
    x, padding = torch.randn(2, 5, 8), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.no_grad():
        expected = model(x, src_key_padding_mask=padding)
    surgery = Surgery(model)
    surgery.free_attention(model.layers[1].self_attn)
    with torch.no_grad():
        found = model(x, src_key_padding_mask=padding)
    torch.testing.assert_close(found[~padding], expected[~padding], rtol=1e-5, atol=1e-5)
    surgery.undo()
    assert model.use_nested_tensor
