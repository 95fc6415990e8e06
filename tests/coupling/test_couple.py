"""Which channels of a model live and die together."""

import copy
from functools import partial

import pytest
import torch
from support.nets import Net
from support.oracle import assert_removable, outputs, randomize, relative_error, zeroed
from support.tiny_zoo import ZOO, Block, PlainCnn
from torch import Tensor, nn

from lightning_prune.coupling import couple
from lightning_prune.errors import ExampleInputsError

zoo = pytest.mark.parametrize("example", ZOO.values(), ids=ZOO)


@zoo
def test_the_groups_are_those_that_are_expected(example):
    coupling = couple(example.build(), example.inputs())
    assert {g.name: (g.units, g.writers) for g in coupling.groups} == example.groups


@zoo
def test_half_of_the_units_of_every_group_can_be_removed(example):
    assert assert_removable(example.build(), example.inputs()).groups


@zoo
def test_groups_do_not_depend_on_the_mode_or_the_batch(example):
    model = example.build()
    first = couple(model.train(), example.inputs())
    second = couple(model.eval(), tuple(x[:1] for x in example.inputs()))
    assert [(g.name, g.units) for g in first.groups] == [(g.name, g.units) for g in second.groups]


@zoo
def test_what_writes_a_unit_is_seen_by_its_readers_only(example):
    """Noise on all that writes a unit vanishes where its readers are zero, and not elsewhere."""
    model = randomize(example.build().double())
    inputs = [x.double() for x in example.inputs()]
    for index, group in enumerate(couple(model, tuple(inputs)).groups):
        chosen = torch.zeros(group.units, dtype=torch.bool)
        chosen[index % group.units] = True
        noisy = copy.deepcopy(model)
        parameters = dict(noisy.named_parameters())
        with torch.no_grad():
            for member in group.parameters:
                if member.side == "out":
                    tensor, positions = parameters[member.axis.tensor], member.owned_by(chosen)
                    part = tensor.index_select(member.axis.dim, positions)
                    tensor.index_copy_(
                        member.axis.dim, positions, part + 0.5 + torch.rand_like(part)
                    )
        expected, changed = outputs(model, inputs, True), outputs(noisy, inputs, True)
        assert relative_error(expected, changed) > 1e-6, group.name
        deaf = [zeroed(m, [group], [chosen], ["in"]) for m in (model, noisy)]
        blind, still = (outputs(m, inputs, True) for m in deaf)
        assert relative_error(blind, still) <= 1e-12, group.name


def _disturb(module: nn.Module, args: object, output: Tensor, *, channels: Tensor) -> Tensor:
    dim = -1 if isinstance(module, nn.Linear) else 1
    return output.index_add(dim, channels, torch.rand_like(output.index_select(dim, channels)))


@zoo
def test_a_channel_of_a_writer_is_seen_by_the_readers_of_its_unit_only(example):
    """Noise on the activation of a channel vanishes where the readers of its unit are zero."""
    model = randomize(example.build().double()).eval()
    inputs = [x.double() for x in example.inputs()]
    checked = 0
    for group in couple(model, tuple(inputs)).groups:
        for member in group.parameters:
            owner, _, name = member.axis.tensor.rpartition(".")
            if member.side != "out" or name != "weight" or member.axis.dim != 0 or not owner:
                continue
            unit = torch.arange(group.units) == group.units - 1
            deaf = zeroed(model, [group], [unit], ["in"])

            disturb = partial(_disturb, channels=member.owned_by(unit))
            expected = outputs(deaf, inputs)
            deaf.get_submodule(owner).register_forward_hook(disturb)
            assert relative_error(expected, outputs(deaf, inputs)) <= 1e-12, member.axis
            checked += 1
    assert checked


def test_the_details_name_groups_ties_and_what_is_frozen():
    text = couple(PlainCnn(), torch.randn(2, 3, 8, 8)).details()
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    # 3 * 3 * 3 * 8 weights and two vectors of 8 write it, 3 * 3 * 8 * 6 weights read it.
    assert lines["conv1"].split(maxsplit=3)[1:] == [
        "8",
        "664",
        "conv1.weight[0], bn1.weight[0], bn1.bias[0], reads conv2.weight[1]",
    ]
    assert "4 of 4" in lines["head.weight[0]"]
    assert "written to the model's output" in lines["head.weight[0]"]


def test_parameters_that_are_not_used_are_named():
    net = Net(lambda m, x: m.used(x), used=nn.Linear(3, 2), spare=nn.Linear(3, 2))
    coupling = couple(net, torch.randn(2, 3))
    assert coupling.unused == ("spare.weight", "spare.bias")
    assert "not run: spare" in str(coupling)


class Odd(nn.Module):
    """Keeps count of its calls, writes into its input, uses chance and holds hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block(3, 3)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))
        self.last = nn.Conv2d(3, 2, 1)
        self.seen: list[int] = []
        self.last.register_forward_hook(lambda module, args, output: output)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(len(x))
        return self.last(self.drop(self.block(x.mul_(2)) + torch.rand(())))


def test_nothing_of_the_model_is_changed():
    model = Odd()
    model.drop.eval()
    x = torch.randn(4, 3, 6, 6)
    state, before = copy.deepcopy(model.state_dict()), x.clone()
    flags = [module.training for module in model.modules()]
    identities = [id(tensor) for tensor in (*model.parameters(), *model.buffers())]
    torch.manual_seed(3)
    random_state = torch.get_rng_state()
    couple(model, x)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(x, before)
    assert [module.training for module in model.modules()] == flags
    assert [id(t) for t in (*model.parameters(), *model.buffers())] == identities
    assert all(torch.equal(model.state_dict()[name], held) for name, held in state.items())
    assert len(model.last._forward_hooks) == 1
    assert model.seen == []
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_mode_in_which_a_model_does_not_run_is_left_out():
    net = Net(
        lambda m, x: m.last(m.first(x)) if not m.training else m.last(x),
        first=nn.Linear(3, 8),
        last=nn.Linear(8, 2),
    )
    assert [group.units for group in couple(net, torch.randn(2, 3)).groups] == [8]


def test_a_model_that_needs_a_large_batch_is_run_with_all_of_it():
    net = Net(
        lambda m, x: m.last(m.first(x).view(4, -1)), first=nn.Linear(3, 8), last=nn.Linear(8, 2)
    )
    assert [group.units for group in couple(net, torch.randn(4, 3)).groups] == [8]


class Keyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, *, image: Tensor) -> Tensor:
        return self.last(self.first(image))


def test_what_the_model_drops_freezes_nothing():
    """Like weights of attention, averaged over heads, that a module returns and nobody uses."""

    def forward(m, x):
        x = m.first(x)
        x.cumsum(-1).mean()
        return m.last(x)

    net = Net(forward, first=nn.Linear(3, 8), last=nn.Linear(8, 2))
    (group,) = assert_removable(net, (torch.randn(2, 3),)).groups
    assert group.units == 8


def test_what_meets_in_a_sum_that_the_model_drops_goes_together():
    """Like the last residual of a WaveNet, whose outputs are skip connections alone."""

    def forward(m, x):
        x = m.first(x)
        x + m.dropped(x)
        return m.last(x)

    layers = {"first": nn.Linear(3, 8), "dropped": nn.Linear(8, 8), "last": nn.Linear(8, 2)}
    net = Net(forward, **layers)
    (group,) = assert_removable(net, (torch.randn(2, 3),)).groups
    assert (group.units, group.writers) == (8, ("first", "dropped"))


class Attentive(nn.Module):
    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.first = nn.Linear(3, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.last = nn.Linear(16, 2)
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        padding = torch.zeros(x.shape[:2], dtype=torch.bool)
        return self.last(self.attention(x, x, x, key_padding_mask=padding, **self.options)[0])


@pytest.mark.parametrize("options", [{}, {"need_weights": False}], ids=["with_weights", "without"])
def test_multi_head_attention_loses_heads(options):
    groups = {g.name: g.units for g in couple(Attentive(**options), torch.randn(2, 5, 3)).groups}
    assert groups == {"first": 16, "attention": 4, "attention.out_proj": 16}


def test_keyword_arguments():
    (group,) = couple(Keyword(), {"image": torch.randn(2, 3)}).groups
    assert group.units == 8


def test_multiply_adds_are_those_of_inference():
    prices = couple(ZOO["auxiliary_head"].build(), ZOO["auxiliary_head"].inputs()).prices
    assert prices["conv1.weight"] == 2 * 6 * 6
    assert "aux.weight" not in prices


WRONG = {
    "of_the_wrong_shape": (torch.randn(2, 4), r"shape \(2, 4\) raised RuntimeError"),
    "without_a_tensor": ("image", "but got str without a tensor"),
    "too_many": ((torch.randn(2, 5), torch.randn(2, 5)), "raised TypeError"),
}


@pytest.mark.parametrize(("inputs", "message"), WRONG.values(), ids=WRONG)
def test_wrong_inputs_are_refused(inputs, message):
    with pytest.raises(ExampleInputsError, match=message):
        couple(nn.Linear(5, 2), inputs)


def test_a_forward_that_differentiates_is_refused_with_the_cure():
    class Force(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(super().forward(x).sum(), x)[0]

    with pytest.raises(ExampleInputsError, match=r"differentiates, as by .*, cannot be followed"):
        couple(Force(3, 2), torch.randn(2, 3))


def test_the_share_of_prunable_parameters_is_counted_once_each():
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    coupling = couple(model, torch.randn(2, 3))
    # All but the last bias: 3 * 8 + 8, 8 * 6 + 6, 6 * 2.
    assert coupling.prunable == 32 + 54 + 12
    assert "98 of 100 parameters can be pruned (98.0%)" in str(coupling)


def test_a_reason_names_the_line_of_the_user_s_code():
    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x).cumsum(-1))

    line = Reversed.forward.__code__.co_firstlineno + 1
    (frozen, *_) = couple(Reversed(), torch.randn(2, 3)).frozen
    assert frozen.reason.endswith(f"(aten::cumsum in the root module, test_couple.py:{line})")


def test_the_worked_example_of_the_readme():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)
    )
    coupling = couple(model, torch.randn(2, 1, 1, 2))
    trace, labels = coupling.traces.traces[0], coupling.traces.labels
    assert {str(axis): start for axis, start in labels.starts.items()} == {
        "0.weight[0]": 1,
        "0.bias[0]": 3,
        "1.weight[0]": 5,
        "1.bias[0]": 7,
        "1.running_mean[0]": 9,
        "1.running_var[0]": 11,
        "4.weight[0]": 13,
        "4.weight[1]": 16,
        "4.bias[0]": 20,
    }
    planes = [trace.planes[node.results[0]][0] for node in trace.graph]
    assert [plane.ids.tolist() for plane in planes] == [
        *[[[[[1]], [[2]]]]] * 3,
        [[1, 1, 2, 2]],
        [[13, 14, 15]],
    ]
    components = [
        [i for i, other in enumerate(coupling.traces.component) if other == one]
        for one in coupling.traces.component[[1, 2, 13, 14, 15]]
    ]
    assert components == [
        [1, 3, 5, 7, 9, 11, 16, 17],
        [2, 4, 6, 8, 10, 12, 18, 19],
        [13, 20],
        [14, 21],
        [15, 22],
    ]


def test_it_draws_the_parameters_on_the_units_of_every_group():
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    axes = couple(model, torch.zeros(1, 3)).plot()
    (bars,) = axes.containers
    assert [bar.get_width() for bar in bars] == [5 * 3 + 5 + 2 * 5]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0"]


RETURNED = {
    "a closure": lambda h: lambda: h,
    "a partial": lambda h: partial(torch.add, h),
    "a set": lambda h: {h},
    "values": lambda h: {"h": h}.values(),
}


@pytest.mark.parametrize("returned", RETURNED.values(), ids=RETURNED)
def test_what_is_returned_in_functions_and_views_keeps_its_units(returned):
    net = Net(
        lambda m, x: (m.last(h := m.first(x)), returned(h)),
        first=nn.Linear(3, 8),
        last=nn.Linear(8, 2),
    )
    coupling = couple(net, torch.randn(2, 3))
    assert coupling.groups == ()


def test_what_is_computed_later_is_refused():
    net = Net(lambda m, x: (m.last(one) for one in x), last=nn.Linear(3, 2))
    with pytest.raises(ExampleInputsError, match=r"got an iterator, .* Return a list\."):
        couple(net, torch.randn(2, 3))
