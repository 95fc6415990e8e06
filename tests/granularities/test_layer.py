import copy
from typing import Any

import lightning as L
import pytest
import torch
import torchvision
from lightning.pytorch.callbacks import ModelCheckpoint
from support.fits import SAFELY, fit, make_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_prune as lp
from lightning_prune.granularities import Layer

X = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class Net(L.LightningModule):
    """A stem, four residual blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(2, 4, 3)
            self.blocks = nn.Sequential(*(Block(4) for _ in range(4)))
            self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)


BLOCK = 2 * 4 * 4 * 9 + 4 * 4  # two convolutions, two norms


def weaken(model: Net, *blocks: int) -> Net:
    with torch.no_grad():
        for index in blocks:
            for parameter in model.blocks[index].parameters():
                parameter.mul_(1e-3)
    return model


def test_every_block_is_a_group_of_one_unit() -> None:
    model = Net()
    groups = Layer().groups(dict(model.named_parameters()), lp.couple(model, X).structure)
    assert [(g.name, g.units) for g in groups] == [(f"blocks.{i}", 1) for i in range(4)]
    assert all(Layer().floor(group) == 0 for group in groups)


@pytest.mark.parametrize("of", ["units", "parameters", "macs"])
def test_the_weakest_blocks_go_and_compaction_takes_them_out(of: Any) -> None:
    model = weaken(Net(), 1, 2).eval()
    report = lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude(), granularity=Layer(), of=of)
    assert report.sparsity == 0.5
    assert {g.name for g in report.groups if g.removed} == {"blocks.1", "blocks.2"}
    assert report.bound == ()
    expected, keys = model(X), list(model.state_dict())
    macs = lp.count_macs(model, X)
    compacted = lp.compact(model, X, latency=False)
    assert compacted.params_before - compacted.params_after == 2 * BLOCK
    assert macs - lp.count_macs(model, X) == 4 * 2 * 2 * 4 * 4 * 9 * 16  # batch, blocks, 4 x 4
    assert torch.allclose(model(X), expected, atol=1e-6)
    assert list(model.state_dict()) == keys
    assert model.blocks[1].conv1.weight.shape == (0, 4, 3, 3)
    assert compacted.refused == {}
    assert [(g.name, g.removed) for g in compacted.groups if g.units == 1] == [
        ("blocks.1", 1),
        ("blocks.2", 1),
    ]


def test_the_details_of_the_coupling_list_the_branches() -> None:
    rows = [line.split() for line in lp.couple(Net(), X).details().splitlines()]
    assert ["branch", "parameters"] in rows
    assert all([f"blocks.{index}", str(BLOCK)] in rows for index in range(4))


def test_all_branches_may_go_but_no_more_can_be_asked() -> None:
    model = Net()
    recipe = {"criterion": lp.Magnitude(), "granularity": Layer(), "of": "units"}
    report = lp.prune(model, X, sparsity=0.99, **recipe)
    assert report.sparsity == 1.0
    lp.compact(model, X, latency=False)
    assert sum(p.numel() for p in model.blocks.parameters()) == 0
    with pytest.raises(lp.TargetError, match="something to prune"):
        lp.prune(nn.Sequential(nn.Linear(2, 2)), torch.rand(1, 2), sparsity=0.5, **recipe)


def test_excluded_blocks_stay() -> None:
    model = weaken(Net(), 0, 1)
    report = lp.prune(
        model,
        X,
        sparsity=1 / 3,
        criterion=lp.Magnitude(),
        granularity=Layer(),
        of="units",
        exclude=["blocks.0"],
    )
    assert {g.name for g in report.groups if g.removed} == {"blocks.1"}
    assert report.left_alone["blocks.0"] == "`blocks.0.conv1` is excluded"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"allocation": lp.Uniform()}, "Expected `allocation` to rank"),
        ({"allocation": lp.ErdosRenyi()}, "Expected `allocation` to rank"),
        ({"allocation": lp.PerLayer({"*": 0.5})}, "Expected `allocation` to rank"),
        ({"allocation": lp.Global(max_sparsity=0.9)}, "without `max_sparsity`"),
        ({"criterion": lp.GeometricMedian()}, "Expected `criterion` to score every unit by itself"),
        ({"schedule": lp.Regrow(start_epoch=1, end_epoch=3)}, "removed units can grow again"),
    ],
)
def test_what_takes_several_units_to_a_group_is_refused_at_once(
    options: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        lp.Pruning(0.5, granularity=Layer(), **options)


def test_activation_rates_belong_to_channels() -> None:
    with pytest.raises(lp.TargetError, match="choose another criterion"):
        lp.prune(
            Net(),
            X,
            sparsity=0.5,
            criterion=lp.ActivationRate(),
            granularity=Layer(),
            batches=[X],
            loss=lambda model, batch: model(batch).sum(),
        )


@pytest.mark.parametrize("allocation", [lp.Global(), lp.Isomorphic()], ids=str)
def test_a_training_ends_with_a_shallower_model_that_trains_on(allocation: lp.Allocation) -> None:
    model = Net()
    pruning = lp.Pruning(
        0.5,
        granularity=Layer(),
        allocation=allocation,
        of="units",
        schedule=lp.Linear(start_epoch=1, end_epoch=3),
        example_inputs=X,
    )
    fit(model, pruning, lp.Compaction(example_inputs=X))
    empty = [b for b in model.blocks if b.conv1.weight.numel() == 0]
    assert len(empty) == 2
    assert all(p.numel() == 0 for block in empty for p in block.parameters())
    before = model.head.weight.clone()
    fit(model, epochs=1)
    assert not torch.equal(model.head.weight, before)


class Killed(L.Callback):
    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 7:
            raise RuntimeError("killed")


@pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`", "ignore:You're resuming from a checkpoint that"
)
def test_killed_and_resumed_is_uninterrupted(tmp_path: Any) -> None:
    def made() -> tuple[Net, lp.Pruning]:
        schedule = lp.Linear(start_epoch=0, end_epoch=3)
        options = {"granularity": Layer(), "of": "units", "example_inputs": X}
        return Net(), lp.Pruning(0.75, schedule=schedule, **options)

    inputs = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(1)).repeat(4, 1, 1, 1)
    data = DataLoader(TensorDataset(inputs, torch.arange(4).remainder(3).repeat(4)), batch_size=4)
    model, pruning = made()
    make_trainer(pruning).fit(model, data)
    first, early = made()
    save = ModelCheckpoint(tmp_path, filename="half", every_n_train_steps=6, save_top_k=-1)
    with pytest.raises(RuntimeError, match="killed"):
        make_trainer(early, save, Killed(), enable_checkpointing=True).fit(first, data)
    second, late = made()
    make_trainer(late).fit(second, data, ckpt_path=tmp_path / "half.ckpt", **SAFELY)
    for a, b in zip(model.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert pruning.pruner is not None
    assert pruning.pruner.sparsity == 0.75


def test_sensitivity_measures_the_model_without_each_block() -> None:
    model = Net().eval()

    def mean(net: nn.Module, x: Tensor) -> float:
        return float(net(x).detach().mean())

    found = lp.sensitivity(model, X, mean, example_inputs=X, granularity=Layer(), progress=False)
    assert [sorted(curve) for curve in found.curves.values()] == [[1.0]] * 4
    without = copy.deepcopy(model)
    with torch.no_grad():
        without.blocks[2].bn2.weight.zero_()
    assert found.curves["blocks.2"][1.0] == pytest.approx(mean(without, X), rel=1e-5)


def vision_transformer() -> nn.Module:
    model = torchvision.models.VisionTransformer(8, 4, 3, 2, 8, 16, num_classes=3)
    nn.init.normal_(model.heads.head.weight)  # it starts from zero
    return model


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer([2, 2], 8, [2, 2], [1, 2], [2, 2], num_classes=3)


def convnext() -> nn.Module:
    config = torchvision.models.convnext.CNBlockConfig
    return torchvision.models.ConvNeXt([config(8, 16, 2), config(16, None, 2)], num_classes=3)


def mobile_net() -> nn.Module:
    stages = [[1, 8, 2, 1], [2, 8, 2, 2]]
    return torchvision.models.MobileNetV2(3, 0.5, stages, round_nearest=4)


MODELS = {
    "resnet": (Net, X),
    "vision transformer": (vision_transformer, torch.randn(2, 3, 8, 8)),
    "swin": (swin, torch.randn(2, 3, 16, 16)),
    "convnext": (convnext, torch.randn(2, 3, 16, 16)),
    "mobile net": (mobile_net, torch.randn(2, 3, 16, 16)),
}


CRITERIA = [lp.Gradient(), lp.Taylor(squared=True), lp.Random()]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "criterion", [lp.Gradient(), lp.Taylor(squared=True), lp.Random()], ids=str
)
def test_asked_is_obtained_and_removed(name: str, criterion: lp.Criterion) -> None:
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    model = make().eval()
    branches = lp.couple(model, inputs).branches
    report = lp.prune(
        model,
        inputs,
        sparsity=0.5,
        criterion=criterion,
        granularity=Layer(),
        of="units",
        batches=[inputs],
        loss=lambda net, batch: net(batch).square().mean(),
    )
    assert len(report.groups) == len(branches) > 1
    assert report.sparsity == round(len(branches) / 2 - 1e-9) / len(branches)
    expected = model(inputs)
    compacted = lp.compact(model, inputs, latency=False)
    assert compacted.refused == {}
    assert torch.allclose(model(inputs), expected, atol=1e-6)
    gone = {g.name for g in report.groups if g.removed}
    sizes = {b.name: sum(model.get_parameter(n).numel() for n in b.parameters) for b in branches}
    assert {name for name, size in sizes.items() if not size} == gone


def test_a_model_without_branches_is_refused_with_what_to_use() -> None:
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(lp.TargetError, match=r"got no residual branch .* Use Channel\(\)"):
        lp.prune(
            plain, torch.randn(2, 4), sparsity=0.5, criterion=lp.Magnitude(), granularity=Layer()
        )


@pytest.mark.parametrize("dim", [0, None])
def test_branches_of_normed_weights_are_removed_whole(dim: int | None) -> None:
    def normed() -> nn.Module:
        return nn.utils.parametrizations.weight_norm(nn.Linear(4, 4), dim=dim)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Sequential(normed(), nn.ReLU(), normed())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.f(x)

    model, x = nn.Sequential(Residual(), Residual()).eval(), torch.randn(2, 4)
    lp.prune(model, x, sparsity=0.5, criterion=lp.Random(), granularity=Layer())
    expected = model(x)
    assert expected.isfinite().all()
    assert lp.compact(model, x, latency=False).refused == {}
    assert torch.allclose(model(x), expected)
    sizes = [sum(p.numel() for p in part.parameters() if p.dim()) for part in model]
    assert sizes.count(0) == 1
