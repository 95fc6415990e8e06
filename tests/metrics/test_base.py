"""Metrics of a model are metrics of torchmetrics, alone and in a collection."""

import copy
import pickle

import matplotlib.figure
import pytest
import torch
import torchmetrics
from torch import nn

import lightning_prune as lp
from lightning_prune import metrics
from lightning_prune.metrics import Latency, Macs, ModelMetric, ModelSize, Sparsity

X = torch.zeros(2, 4)


def net() -> nn.Linear:
    layer = nn.Linear(4, 8)
    with torch.no_grad():
        layer.weight[:4] = 0
        layer.bias.fill_(1)
    return layer


QUICK = {"min_runs": 2, "max_seconds": 0.01}
ALL = [Sparsity(), ModelSize(), Macs(), Latency(**QUICK)]
every = pytest.mark.parametrize("metric", ALL, ids=lambda metric: type(metric).__name__)


def test_a_collection_measures_a_model_at_once() -> None:
    collection = torchmetrics.MetricCollection(copy.deepcopy(ALL))
    model = net()
    for _ in range(2):  # a collection joins metrics of equal states after the first update
        collection.update(model, X)
    values = collection.compute()
    assert values.pop("Latency") > 0
    assert values == {"Sparsity": torch.tensor(0.4), "ModelSize": 160.0, "Macs": 2 * 4 * 8}


@every
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_the_last_update_counts(metric: ModelMetric) -> None:
    metric = copy.deepcopy(metric)
    assert metric.compute().isnan()
    metric.update(nn.Linear(4, 1), X)
    first = metric.compute()
    again = metric(net(), X)
    assert torch.equal(metric.compute(), again)
    assert not torch.equal(first, again)
    metric.reset()
    assert metric.compute().isnan()


@every
def test_it_is_pickled_and_drawn(metric: ModelMetric) -> None:
    metric = pickle.loads(pickle.dumps(metric))
    values = [metric(net(), X) for _ in range(3)]
    figure, axes = metric.plot(values)
    assert isinstance(figure, matplotlib.figure.Figure)
    assert axes.get_ylabel() == type(metric).unit or not type(metric).unit
    metric.plot()


@every
def test_its_argument_must_be_a_model(metric: ModelMetric) -> None:
    with pytest.raises((TypeError, AttributeError)):
        copy.deepcopy(metric).update(3, X)


def test_metrics_that_run_a_model_ask_for_inputs() -> None:
    for metric in (Macs(), Latency(**QUICK)):
        with pytest.raises(lp.ExampleInputsError):
            metric.update(net())
    Sparsity().update(net())


def test_a_sparsity_counts_what_it_is_asked_for() -> None:
    model = nn.Sequential(net(), nn.Linear(8, 2))
    assert Sparsity(min_ndim=2, include=["0"])(model) == 0.5
    assert Sparsity(exclude=["0"])(model) == 0
    with pytest.raises(ValueError, match="min_ndim"):
        Sparsity(min_ndim=-1)


def test_the_folder_is_public() -> None:
    assert lp.metrics is metrics
    assert issubclass(ModelMetric, torchmetrics.Metric)
