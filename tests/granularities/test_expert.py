"""Experts are scored, zeroed and removed, and the model computes what it computed with zeros."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from support.fits import fit
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.granularities import Expert

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


class Mixture(nn.Module):
    """Two of five experts for each row, picked out of stacked weights."""

    def __init__(self, width: int = 8, experts: int = 5) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts)
        self.up = nn.Parameter(torch.randn(experts, width, width) / 3)
        self.bias = nn.Parameter(torch.randn(experts, width))
        self.down = nn.Parameter(torch.randn(experts, width, width) / 3)

    def forward(self, x: Tensor) -> Tensor:
        weights, picks = self.router(x).softmax(-1).topk(2, -1)
        y = torch.zeros_like(x)
        for weight, pick in zip(weights.unbind(1), picks.unbind(1), strict=True):
            hidden = torch.einsum("nio,ni->no", self.up[pick], x) + self.bias[pick]
            y = y + weight[:, None] * torch.einsum("nio,ni->no", self.down[pick], hidden.relu())
        return y


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.experts, self.last = nn.Linear(3, 8), Mixture(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.experts(x))


class Trained(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0].flatten(1)[:, :3]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)


EXPERT = 2 * 8 * 8 + 8


def pruned(sparsity: float = 0.6) -> Net:
    model = Net().eval()
    lp.prune(model, X, sparsity=sparsity, criterion=lp.Magnitude(), granularity=Expert())
    return model


def test_the_experts_of_a_mixture_are_the_units_of_a_group():
    model = Net()
    (group,) = Expert().groups(dict(model.named_parameters()), lp.couple(model, X).structure)
    assert (group.name, group.units) == ("experts", 5)
    assert [str(m.axis) for m in group.members] == [
        "experts.up[0]",
        "experts.bias[0]",
        "experts.down[0]",
    ]
    assert Expert(min_units=2).floor(group) == 2


@pytest.mark.parametrize("of", ["units", "parameters"])
def test_the_weakest_experts_go_and_compaction_removes_them(of: Any) -> None:
    model = Net().eval()
    with torch.no_grad():
        for table in (model.experts.up, model.experts.down, model.experts.bias):
            table[[1, 3, 4]] *= 0.1
    options = {"criterion": lp.Magnitude(), "granularity": Expert(), "of": of}
    report = lp.prune(model, X, sparsity=0.6, **options)
    assert report.sparsity == 0.6
    assert not model.experts.up[[1, 3, 4]].any()
    masked, keys = copy.deepcopy(model), list(model.state_dict())
    compacted = lp.compact(model, X, latency=False)
    assert compacted.refused == {}
    assert compacted.params_before - compacted.params_after == 3 * EXPERT
    assert [(g.name, g.removed) for g in compacted.groups if g.removed] == [("experts", 3)]
    assert list(model.state_dict()) == keys
    assert torch.equal(model.experts.up, masked.experts.up[[0, 2]])
    assert model.experts.router.weight.shape == (5, 8)
    inputs = torch.randn(200, 3) * 10
    assert torch.equal(model(inputs), masked(inputs))


def test_one_expert_of_a_mixture_stays() -> None:
    model = nn.Sequential(nn.Linear(3, 8), Mixture(), nn.Linear(8, 3)).eval()
    with torch.no_grad():
        for table in (model[1].up, model[1].down, model[1].bias):
            table.zero_()
    masked = copy.deepcopy(model)
    lp.compact(model, X, latency=False)
    assert len(model[1].up) == 1
    assert torch.equal(model(X), masked(X))
    options = {"criterion": lp.Magnitude(), "granularity": Expert(min_units=2)}
    with pytest.raises(lp.TargetError, match=r"0\.6"):
        lp.prune(Net(), X, sparsity=0.8, **options)


@pytest.mark.filterwarnings("ignore")  # torch warns of its tracer
def test_the_compact_model_is_saved_pickled_copied_traced_and_exported(tmp_path: Any) -> None:
    masked = pruned()
    model = copy.deepcopy(masked)
    lp.compact(model, X, latency=False)
    lp.save_compact(model, tmp_path / "small")
    others = [
        lp.load_compact(Net().eval(), tmp_path / "small"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        torch.jit.trace(model, (X,)),  # type: ignore[no-untyped-call]
        torch.export.export(model, (X,), strict=False).module(),
        torch.compile(model, backend="eager"),
    ]
    for other in others:
        assert torch.equal(other(X), masked(X))


def test_more_experts_go_later_and_channels_too(tmp_path: Any) -> None:
    masked = pruned(0.4)
    model = copy.deepcopy(masked)
    lp.compact(model, X, latency=False)
    left = int(masked.experts.up.abs().sum((1, 2)).argmax())
    position = masked.experts.up.any(2).any(1).nonzero().flatten().tolist().index(left)
    with torch.no_grad():
        for name in ("up", "down", "bias"):
            masked.experts.get_parameter(name)[left] = 0
            model.experts.get_parameter(name)[position] = 0
    lp.compact(model, X, latency=False)
    assert model.experts.up.shape == (2, 8, 8)
    assert torch.equal(model(X), masked(X))
    lp.prune(model, X, sparsity=0.3, criterion=lp.Magnitude(), granularity=lp.Channel())
    expected = model(X)
    assert lp.compact(model, X, latency=False).refused == {}
    assert model.experts.up.shape[1] < 8
    assert torch.allclose(model(X), expected, atol=1e-6)
    lp.save_compact(model, tmp_path / "small")
    loaded = lp.load_compact(Net().eval(), tmp_path / "small")
    assert torch.equal(loaded(X), model(X))


def test_a_training_prunes_experts_and_trains_on() -> None:
    model = Trained()
    pruning = lp.Pruning(
        0.6,
        granularity=Expert(),
        of="units",
        schedule=lp.Linear(start_epoch=1, end_epoch=3),
        example_inputs=X,
    )
    fit(model, pruning, lp.Compaction(example_inputs=X))
    left = model.net.experts.up
    assert left.shape == (2, 8, 8)
    before = left.clone()
    fit(model, epochs=1)
    assert not torch.equal(left, before)


def test_a_model_without_mixtures_is_refused_with_what_to_use() -> None:
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    options = {"criterion": lp.Magnitude(), "granularity": Expert()}
    with pytest.raises(lp.TargetError, match=r"got no mixture .* Use Channel\(\)"):
        lp.prune(plain, torch.randn(2, 4), sparsity=0.5, **options)


class Grouped(nn.Module):
    """Experts in one call, over rows that are sorted already."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 16), nn.Linear(16, 3)
        self.up = nn.Parameter(torch.randn(4, 16, 24))
        self.down = nn.Parameter(torch.randn(4, 24, 16))

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        offs = torch.tensor([n // 4, n // 2, n // 2, n], dtype=torch.int32)
        y = F.grouped_mm(self.first(x), self.up, offs=offs).relu()
        return self.last(F.grouped_mm(y, self.down, offs=offs))


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="torch has no grouped_mm")
def test_experts_of_a_grouped_product_in_the_model_itself_go() -> None:
    model = Grouped().eval()
    lp.prune(model, X, sparsity=0.5, criterion=lp.Random(), granularity=Expert())
    masked = copy.deepcopy(model)
    assert lp.compact(model, X, latency=False).refused == {}
    assert model.up.shape == (2, 16, 24)
    assert torch.equal(model(X), masked(X))


def mixtral(library: Any) -> nn.Module:
    config = library.MixtralConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=6,
        use_cache=False,
    )
    return library.MixtralForCausalLM(config)


def qwen3(library: Any) -> nn.Module:
    config = library.Qwen3MoeConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        moe_intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        num_experts=6,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        use_cache=False,
    )
    return library.Qwen3MoeForCausalLM(config)


@pytest.mark.parametrize("make", [mixtral, qwen3])
@pytest.mark.parametrize("form", ["grouped_mm", "eager", "batched_mm"])
def test_language_models_lose_whole_experts(make: Any, form: str) -> None:
    library = pytest.importorskip("transformers", "5.0")
    torch.manual_seed(0)
    model = make(library).eval()
    model.set_experts_implementation(form)
    x = {"input_ids": torch.randint(0, 40, (2, 9))}
    report = lp.prune(model, x, sparsity=0.5, criterion=lp.Magnitude(), granularity=Expert())
    assert report.sparsity == 0.5
    masked = copy.deepcopy(model)
    compacted = lp.compact(model, x, latency=False)
    assert compacted.refused == {}
    assert compacted.params_before - compacted.params_after == 6 * 3 * 16 * 24  # six experts
    longer = torch.randint(0, 40, (3, 20))
    for other in ("grouped_mm", "eager", "batched_mm"):  # also by code that was not recorded
        model.set_experts_implementation(other)
        masked.set_experts_implementation(other)
        assert torch.allclose(model(longer).logits, masked(longer).logits, atol=1e-6)


class Gated(nn.Module):
    def __init__(self, width: int = 8, hidden: int = 12) -> None:
        super().__init__()
        self.up, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Looped(nn.Module):
    """Experts that are modules in a list, run one after the other for their rows."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.router, self.last = nn.Linear(3, 8), nn.Linear(8, 5), nn.Linear(8, 3)
            self.experts = nn.ModuleList(Gated() for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        weights, picks = self.router(x).softmax(-1).topk(2, -1)
        chosen = F.one_hot(picks, 5).permute(2, 1, 0)
        y = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            which, rows = torch.where(chosen[number])
            if rows.numel():
                y.index_add_(0, rows, expert(x[rows]) * weights[rows, which, None])
        return self.last(x + y)


MANY = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("allocation", [lp.Global(), lp.Uniform()], ids=str)
def test_experts_in_a_list_go_but_for_one_hidden_unit(allocation: Any, tmp_path: Any) -> None:
    model = Looped().eval()
    with torch.no_grad():
        for number in (1, 4):
            for parameter in model.experts[number].parameters():
                parameter.mul_(0.1)
    options = {"criterion": lp.Magnitude(), "granularity": Expert(), "allocation": allocation}
    report = lp.prune(model, MANY, sparsity=0.4, **options)
    assert [(g.name, g.units, g.removed) for g in report.groups] == [("experts", 5, 2)]
    assert report.sparsity == pytest.approx(0.4)
    masked, keys = copy.deepcopy(model), list(model.state_dict())
    compacted = lp.compact(model, MANY, latency=False)
    assert compacted.refused == {}
    assert [len(expert.up.weight) for expert in model.experts] == [12, 1, 12, 12, 1]
    assert compacted.params_before - compacted.params_after == 2 * 11 * (2 * 9 + 8)
    assert list(model.state_dict()) == keys
    for count in (1, 7, 300):
        inputs = torch.randn(count, 3)
        assert torch.equal(model(inputs), masked(inputs))
    lp.save_compact(model, tmp_path / "small")
    assert torch.equal(lp.load_compact(Looped().eval(), tmp_path / "small")(MANY), masked(MANY))


@pytest.mark.parametrize("criterion", [lp.GeometricMedian(), lp.Taylor()], ids=str)
def test_experts_in_a_list_are_scored_by_every_kind_of_criterion(criterion: Any) -> None:
    model = Looped().eval()
    report = lp.prune(
        model,
        MANY,
        sparsity=0.6,
        of="units",
        criterion=criterion,
        granularity=Expert(),
        batches=[MANY],
        loss=lambda net, batch: net(batch).square().mean(),
    )
    assert report.sparsity == pytest.approx(0.6)
    dead = [not any(p.any() for p in expert.parameters()) for expert in model.experts]
    assert sum(dead) == 3


def test_experts_that_no_example_chooses_are_named(caplog: Any) -> None:
    model = Looped().eval()
    with torch.no_grad():
        for expert in model.experts:
            for parameter in expert.parameters():
                parameter.zero_()
    masked = copy.deepcopy(model)
    report = lp.compact(model, MANY[:1], latency=False)
    assert report.unused
    assert torch.equal(model(MANY), masked(MANY))
