import pytest
import torch
import torchvision
from torch import nn

from lightning_prune.allocations import ErdosRenyi
from lightning_prune.granularities import Weight
from lightning_prune.pruning.choosing.choice import choose
from lightning_prune.units.cost import element_cost
from lightning_prune.units.group import Structure


def densities(model, sparsity, allocation):
    """Density of every weight tensor by name, with random scores."""
    weights = {n: p for n, p in model.named_parameters() if p.dim() > 1}
    groups = Weight().groups(weights, Structure())
    shapes = {name: p.shape for name, p in weights.items()}
    generator = torch.Generator().manual_seed(0)
    scores = [torch.rand(g.units, generator=generator) for g in groups]
    kept = choose(
        allocation.priorities(scores, groups, shapes),
        element_cost(groups, shapes),
        sparsity,
        [1] * len(groups),
    )
    return {g.name: k.float().mean().item() for g, k in zip(groups, kept, strict=True)}


def by_the_published_algorithm(shapes, sparsity, *, kernel):
    """Make layers dense one after the other until no density exceeds 1 (Evci et al., 2020)."""
    dense = set()
    raw = {
        name: sum(shape if kernel else shape[:2]) / (shape.numel() if kernel else shape[:2].numel())
        for name, shape in shapes.items()
    }
    total = sum(shape.numel() for shape in shapes.values())
    while True:
        left = (1 - sparsity) * total - sum(shapes[name].numel() for name in dense)
        divisor = sum(raw[n] * s.numel() for n, s in shapes.items() if n not in dense)
        epsilon = left / divisor
        most = max((n for n in shapes if n not in dense), key=raw.__getitem__)
        if epsilon * raw[most] <= 1:
            return {n: 1.0 if n in dense else epsilon * raw[n] for n in shapes}
        dense.add(most)


@pytest.fixture(scope="module")
def resnet50():
    with torch.device("cpu"):
        return torchvision.models.resnet50()


@pytest.mark.parametrize("sparsity", [0.8, 0.9])
def test_densities_of_resnet50_are_those_of_the_published_algorithm(resnet50, sparsity):
    found = densities(resnet50, sparsity, ErdosRenyi())
    shapes = {n: p.shape for n, p in resnet50.named_parameters() if p.dim() > 1}
    expected = by_the_published_algorithm(shapes, sparsity, kernel=True)
    for name, density in expected.items():
        assert found[name] == pytest.approx(density, abs=1.5 / shapes[name].numel() + 1e-6)


# FLOPs of a sparse ResNet-50 relative to the dense one, as printed by Evci et al., 2020, for their
# layer-wise densities (table of results in github.com/google-research/rigl).
@pytest.mark.parametrize(
    ("sparsity", "published"), [(0.8, 0.42), (0.9, 0.24), (0.95, 0.12), (0.965, 0.09)]
)
def test_multiply_adds_of_resnet50_are_as_published(resnet50, sparsity, published):
    found = densities(resnet50, sparsity, ErdosRenyi())
    sizes = {}  # pixels of each convolution's output, for an image of 224 x 224

    def remember(name):
        return lambda module, args, out: sizes.__setitem__(f"{name}.weight", out[0, 0].numel())

    handles = [
        module.register_forward_hook(remember(name))
        for name, module in resnet50.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        resnet50.eval()(torch.zeros(1, 3, 224, 224))
    for handle in handles:
        handle.remove()
    macs = {
        name: p.numel() * sizes.get(name, 1)
        for name, p in resnet50.named_parameters()
        if p.dim() > 1
    }
    share = sum(found[name] * macs[name] for name in macs) / sum(macs.values())
    assert share == pytest.approx(published, abs=0.01)


@pytest.mark.parametrize("kernel", [True, False])
def test_layers_with_more_weights_per_node_lose_more(kernel):
    model = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 200), nn.Conv2d(20, 30, 3))
    found = densities(model, 0.6, ErdosRenyi(kernel=kernel))
    shapes = {n: p.shape for n, p in model.named_parameters() if p.dim() > 1}
    expected = by_the_published_algorithm(shapes, 0.6, kernel=kernel)
    for name, density in expected.items():
        assert found[name] == pytest.approx(density, abs=1.5 / shapes[name].numel())
