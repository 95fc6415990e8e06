import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import lightning_prune as lp


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def batches(n: int = 3) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(4, 1, 6, 6), torch.randint(0, 3, (4,))) for _ in range(n)]


X = torch.randn(1, 1, 6, 6)


def test_magnitude_zeroes_the_smallest_channels_on_both_sides():
    model = Net()
    with torch.no_grad():
        model.conv.weight.copy_(torch.arange(1.0, 9.0).view(8, 1, 1, 1).expand(8, 1, 3, 3))
        model.head.weight.fill_(1.0)
    report = lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude())
    assert [(g.kept, g.units) for g in report.groups] == [(4, 8)]
    assert model.conv.weight.flatten(1).any(1).tolist() == [False] * 4 + [True] * 4
    assert model.norm.weight.tolist() == [0.0] * 4 + [1.0] * 4
    assert model.head.weight.any(0).tolist() == [False] * 4 + [True] * 4


def test_gradient_scores_are_those_of_a_slow_loop():
    model, data = Net().eval(), batches()
    expected = torch.zeros(model.head.weight.numel())
    for batch in data:
        model.zero_grad()
        loss(model, batch).backward()
        flat = torch.cat([model.conv.weight.grad.flatten(), model.head.weight.grad.flatten()])
        expected += (flat.abs() / flat.abs().sum())[-expected.numel() :]
    model.zero_grad()
    lp.prune(
        model,
        sparsity=0.25,
        criterion=lp.Gradient(),
        granularity=lp.Weight(),
        include=["head"],
        batches=data,
        loss=loss,
    )
    # Within one layer the share of the layer and that of the model rank alike for a single step;
    # over several, the denominators differ, so only the layer itself is summed here.
    removed = (model.head.weight == 0).flatten()
    assert removed.sum() == 6
    assert expected[removed].mean() < expected[~removed].mean()


def test_gradients_buffers_and_modes_of_the_model_stay():
    model = Net()
    model.conv.eval()
    options = {"criterion": lp.Taylor(), "batches": batches(), "loss": loss}
    lp.prune(model, X, sparsity=0.5, renew_norms=False, **options)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.norm.num_batches_tracked == 0
    assert not model.norm.running_mean.any()
    assert (model.training, model.conv.training, model.norm.training) == (True, False, True)


def test_five_lines_leave_a_convolution_of_half_the_channels():
    model = Net().eval()
    lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude(), include=["conv"])
    masked = model(X)
    report = lp.compact(model, X, latency=False)
    assert model.conv.out_channels == model.norm.num_features == model.head.in_features == 4
    assert torch.allclose(model(X), masked, atol=1e-6)
    assert report.params_after < report.params_before


def test_a_gradient_criterion_without_data_is_refused():
    with pytest.raises(ValueError, match=r"Expected `batches` and `loss`.*got None for loss"):
        lp.prune(Net(), X, sparsity=0.5, batches=batches())


def test_channels_without_example_inputs_are_refused():
    with pytest.raises(ValueError, match="Expected `example_inputs` to be given for Channel"):
        lp.prune(Net(), sparsity=0.5, criterion=lp.Magnitude())


def test_inputs_of_another_shape_are_refused_and_nothing_is_zeroed():
    model = Net()
    with pytest.raises(lp.ExampleInputsError, match=r"tensors of shape \(1, 2, 6, 6\)"):
        lp.prune(model, torch.randn(1, 2, 6, 6), sparsity=0.5, criterion=lp.Magnitude())
    assert model.conv.weight.all()


class Auxiliary(Net):
    """Only training runs a second head, on what the convolution writes."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Conv2d(self.conv.out_channels, 2, 1)

    def loss(self, x: Tensor) -> Tensor:
        return self.aux(self.conv(x)).mean()


def test_what_the_example_does_not_run_is_named_with_the_cure(caplog):
    with pytest.raises(lp.TargetError, match=r"conv: aux.weight, which the example did not run"):
        lp.prune(Auxiliary(), X, sparsity=0.5, criterion=lp.Magnitude())
    report = lp.prune(Auxiliary(), X, sparsity=0.5, criterion=lp.Magnitude(), allow_unused=True)
    assert report.unused == ("aux.weight", "aux.bias")
    assert "not run by the example inputs: aux.weight, aux.bias" in str(report)
    assert not caplog.records


def test_what_may_be_read_is_left_alone_and_the_rest_pruned(caplog):
    model = Auxiliary()
    model.head = nn.Sequential(model.head, nn.Linear(model.head.out_features, 9), nn.Linear(9, 3))
    report = lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude())
    assert "which the example did not run, may read it" in report.left_alone["conv"]
    [record] = caplog.records
    assert "do not run aux. " in record.getMessage()


@pytest.mark.parametrize("criterion", [lp.Magnitude(), lp.SynFlow()], ids=str)
def test_several_examples_prune_what_any_of_them_runs(criterion):
    model = Auxiliary()
    examples = [X, lp.Call("loss", X)]
    report = lp.prune(model, examples, sparsity=0.5, criterion=criterion, of="macs")
    assert report.unused == ()
    assert abs(report.sparsity - 0.5) <= 0.5 / model.conv.out_channels
    assert (model.aux.weight != 0).any(0).sum() < model.conv.out_channels


def test_a_plan_is_what_prune_and_compact_then_give():
    model = torchvision.models.resnet18()
    x = torch.randn(1, 3, 64, 64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plan = lp.plan(model, x, sparsity=0.5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    report = lp.prune(model, x, sparsity=0.5, criterion=lp.Magnitude())
    assert plan.groups == report.groups
    compact = lp.compact(model, x, latency=False)
    assert (plan.params_before, plan.params_after) == (compact.params_before, compact.params_after)
    assert (plan.macs_before, plan.macs_after) == (compact.macs_before, compact.macs_after)
    assert max(map(len, str(plan).splitlines())) <= 100


def test_a_plan_takes_data_as_prune_does():
    data = batches()
    plan = lp.plan(Net(), X, sparsity=0.5, criterion=lp.Taylor(), batches=data, loss=loss)
    assert plan.sparsity == pytest.approx(0.5, abs=0.07)
    with pytest.raises(ValueError, match="Expected `batches` and `loss` to be given"):
        lp.plan(Net(), X, sparsity=0.5, criterion=lp.Taylor())


class Fourier(nn.Module):
    """Its inputs go through a product with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(4, 8))
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body((x @ self.frequencies).sin()).relu())


def test_a_product_with_a_buffer_is_no_product_with_a_weight():
    report = lp.prune(Fourier(), torch.randn(2, 4), sparsity=0.5, criterion=lp.Magnitude())
    assert report.sparsity == pytest.approx(0.5, abs=1 / 16)
    assert report.macs_left == pytest.approx(0.5, abs=1 / 16)


@pytest.mark.parametrize(
    ("weight", "why"),
    [
        (lambda: torch.randn(1, 16).expand(16, 16), "elements lie in the same memory"),
        (torch.inference_mode()(lambda: torch.randn(16, 16)), "made in inference mode"),
    ],
    ids=["expanded", "inference"],
)
def test_a_weight_that_cannot_be_written_is_refused_before_any_is(weight, why):
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 4))
    with torch.inference_mode("inference" in why):
        model[2].weight = nn.Parameter(weight(), requires_grad=False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"Expected `2.weight` to be a parameter .* {why}"):
        lp.prune(model, torch.randn(4, 8), sparsity=0.5, criterion=lp.Magnitude())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_parameter_that_no_mask_is_written_to_may_be_anything():
    model = Net()
    model.scale = nn.Parameter(torch.ones(1).expand(3), requires_grad=False)
    assert lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude()).sparsity > 0
