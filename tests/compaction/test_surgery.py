"""Surgery cuts a model in place, and can take everything back."""

import contextlib
import copy
import itertools
import signal
from dataclasses import dataclass, replace

import pytest
import torch
from support.oracle import half_of_every_group, outputs, randomize, relative_error, sliced
from support.tiny_zoo import ZOO
from torch import nn

from lightning_prune.compaction import ledger
from lightning_prune.compaction.completion import completed, free_attentions
from lightning_prune.compaction.plan import Attribute, Cut, Plan, SizeChange, plan_removal
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.coupling import couple
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.attention import TensorSizedAttention
from lightning_prune.runtime.swaps import SizeByTensors, Swap
from lightning_prune.units.group import Axis

zoo = pytest.mark.parametrize("example", ZOO.values(), ids=ZOO)


def planned(model: nn.Module, inputs) -> Plan:
    coupling = couple(model, inputs)
    plan = plan_removal(coupling.groups, half_of_every_group(coupling.groups))
    return completed(plan, model, coupling.grouped)


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
    plan = completed(plan_removal(coupling.groups, removed), model, coupling.grouped)
    Surgery(model).apply(plan)
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


def cut(tensor: str, dim: int, *kept: int, of: int = 9) -> Plan:
    return Plan({Axis(tensor, dim): Cut(kept, of)})


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


LAYOUTS = {
    "channels last": (nn.Conv2d, torch.channels_last),
    "channels last in three dimensions": (nn.Conv3d, torch.channels_last_3d),
    "contiguous": (nn.Conv2d, torch.contiguous_format),
}


@pytest.mark.parametrize(("kind", "layout"), LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dim", [0, 1])
def test_a_cut_keeps_the_memory_format(kind, layout, dim):
    layer = kind(4, 8, 3).to(memory_format=layout)
    expected = layer.weight.detach().index_select(dim, torch.tensor([0, 2, 3]))
    Surgery(layer).apply(cut("weight", dim, 0, 2, 3))
    assert torch.equal(layer.weight, expected)
    assert layer.weight.is_contiguous(memory_format=layout)
    assert layer.weight.is_contiguous() == (layout is torch.contiguous_format)


def test_tensors_of_one_dimension_stay_contiguous():
    layer = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    Surgery(layer).replace(layer.bias, layer.bias.detach().repeat_interleave(2)[::2])
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


@dataclass(frozen=True)
class ToOther(Swap):
    """A swap that always fits."""

    kind = "other"
    attributes = {"mark": 1}  # noqa: RUF012 it is read only

    def fits(self, module: nn.Module) -> bool:
        return True

    def class_for(self, module: nn.Module) -> type[nn.Module]:
        return Other


def test_classes_and_attributes_are_undone():
    model = nn.Sequential(nn.Linear(3, 4), nn.MultiheadAttention(4, 2))
    before, classes = snapshot(model), [type(m) for m in model.modules()]
    surgery = Surgery(model)
    sizes = {Attribute("0", "out_features"): SizeChange(4, 2)}
    surgery.apply(Plan(attributes=sizes, swaps={"0": ToOther(), "1": SizeByTensors()}))
    assert [type(model[0]), type(model[1])] == [Other, TensorSizedAttention]
    assert (model[0].mark, model[0].out_features) == (1, 2)
    surgery.undo()
    assert [type(m) for m in model.modules()] == classes
    assert snapshot(model) == before
    assert model[1]._qkv_same_embed_dim is True


def test_changes_since_a_mark_are_undone_alone():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    surgery = Surgery(model)
    surgery.apply(cut("0.weight", 0, 0, 1))
    between, mark = snapshot(model), surgery.mark()
    surgery.apply(cut("1.weight", 1, 0, 1))
    surgery.undo(to=mark)
    assert snapshot(model) == between
    surgery.undo()
    assert model[0].weight.shape == (4, 3)


def state(model: nn.Module) -> list[object]:
    """Return everything of every module, and what its tensors are and hold."""
    tensors = [*model.parameters(), *model.buffers()]
    return [
        [(type(m), dict(vars(m))) for m in model.modules()],
        [(id(t), t.data_ptr(), t.shape, t.requires_grad, id(t.grad)) for t in tensors],
    ]


class Picky(nn.Module):
    """Its attributes raise when they are set, by whatever means."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        vars(self)["width"] = 4

    @property
    def fixed(self) -> int:
        return 4

    def __setattr__(self, name: str, value: object) -> None:
        if name in {"width", "__class__"}:
            raise RuntimeError("not to be set")
        super().__setattr__(name, value)


def test_attributes_that_may_not_be_set_are_set_and_undone():
    model = Picky()
    before, surgery = state(model), Surgery(model)
    plan = Plan(attributes={Attribute("", "width"): SizeChange(4, 2)}, swaps={"": ToOther()})
    surgery.apply(plan)
    assert (model.width, type(model)) == (2, Other)
    surgery.undo()
    assert state(model) == before


def interrupted(monkeypatch, owner, name, times=1):
    """Let a function be interrupted after it has done its work, the n-th time it is called."""
    plain, calls = getattr(owner, name), itertools.count(1)

    def run(*args, **kwargs):
        result = plain(*args, **kwargs)
        if next(calls) == times:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, name, run)


@pytest.mark.parametrize("times", range(1, 5))
def test_what_is_interrupted_while_it_is_applied_is_taken_back(monkeypatch, times):
    example = ZOO["plain"] if "plain" in ZOO else next(iter(ZOO.values()))
    model = randomize(example.build())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    plan, before = planned(model, example.inputs()), state(model)
    interrupted(monkeypatch, ledger, "hold", times)
    with pytest.raises(KeyboardInterrupt):
        Surgery(model).apply(plan)
    assert state(model) == before


@pytest.mark.parametrize("times", range(1, 5))
def test_an_undo_that_is_interrupted_goes_on_where_it_ended(monkeypatch, times):
    example = next(iter(ZOO.values()))
    model = randomize(example.build())
    before, surgery = state(model), Surgery(model)
    surgery.apply(planned(model, example.inputs()))
    interrupted(monkeypatch, ledger, "hold", times)
    with contextlib.suppress(KeyboardInterrupt):
        surgery.undo()
    surgery.undo()
    surgery.undo()
    assert state(model) == before


def test_a_key_that_is_pressed_during_surgery_takes_effect_after_it(monkeypatch):
    model = nn.Linear(3, 4)
    plain = ledger.hold

    def press(*args):
        signal.raise_signal(signal.SIGINT)
        plain(*args)

    monkeypatch.setattr(ledger, "hold", press)
    before, surgery = state(model), Surgery(model)
    with pytest.raises(KeyboardInterrupt):
        surgery.apply(cut("weight", 0, 1, 2))
    monkeypatch.undo()
    assert state(model) == before


def test_a_plan_that_cannot_be_applied_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    before = state(model)
    plan = replace(cut("0.weight", 0, 1, 2), swaps={"1": SizeByTensors()})
    with pytest.raises(RewriteError, match=r"SizeByTensors\(\) does not fit ReLU"):
        Surgery(model).apply(plan)
    assert state(model) == before


def test_attention_is_freed_where_it_is_cut_and_only_there():
    model = nn.ModuleList([nn.MultiheadAttention(4, 2) for _ in range(2)])
    Surgery(model).apply(completed(cut("0.out_proj.weight", 0, 1, 2), model))
    assert [type(m) for m in model] == [TensorSizedAttention, nn.MultiheadAttention]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_with_padding_runs_its_cut_layers_in_eval_mode():
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    model = randomize(nn.TransformerEncoder(layer, 2)).eval()
    x, padding = torch.randn(2, 5, 8), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.no_grad():
        expected = model(x, src_key_padding_mask=padding)
    surgery = Surgery(model)
    surgery.apply(Plan(swaps=free_attentions(model, ["layers.1.self_attn"])))
    with torch.no_grad():
        found = model(x, src_key_padding_mask=padding)
    torch.testing.assert_close(found[~padding], expected[~padding], rtol=1e-5, atol=1e-5)
    surgery.undo()
    assert model.use_nested_tensor
