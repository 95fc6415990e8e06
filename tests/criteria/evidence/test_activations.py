import torch
from torch import nn

from lightning_prune.criteria import Wanda
from lightning_prune.criteria.evidence import Activations
from lightning_prune.criteria.evidence.base import Subject


def test_what_layers_read_is_averaged_while_it_observes() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4))
    names = dict(model.named_parameters())
    assert Activations.observable(model, names) == {"0.weight"}
    weights = {"0.weight": model[0].weight}
    evidence = Activations(Subject(model, weights, Wanda(), lambda s: list(s.values()), {}))
    batches = [torch.randn(5, 3), torch.randn(5, 3)]
    model(batches[0])  # not observed yet
    evidence.start(only_training=False)
    for batch in batches:
        evidence.gather(lambda m, b: m(b).sum(), batch)
    evidence.stop()
    model(torch.full((5, 3), 9.0))
    mean = torch.stack([batch.square().mean(0) for batch in batches]).mean(0)
    torch.testing.assert_close(evidence.observed()[0], mean[None])
    torch.testing.assert_close(evidence.scores()[0], model[0].weight.abs() * mean.sqrt())


def test_sums_of_ranks_are_added_up_and_stored() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    subject = Subject(model, {"0.weight": model[0].weight}, Wanda(), lambda s: list(s.values()), {})
    evidence, other = Activations(subject), Activations(subject)
    evidence.start(only_training=False)
    evidence.gather(lambda m, b: m(b).sum(), torch.ones(2, 3))
    evidence.stop()
    evidence.reduce(lambda tensor: 2 * tensor)  # two ranks that saw the same
    assert evidence.observed()[0].tolist() == [[1.0, 1.0, 1.0]]
    other.load_state_dict(evidence.state_dict())
    assert torch.equal(other.observed()[0], evidence.observed()[0])
    evidence.reset()
    assert not evidence.ready
