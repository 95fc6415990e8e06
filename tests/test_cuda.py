"""On a GPU: the same guarantees, and no step that waits for the device."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import pytest
import torch
from support.fits import Validated, data
from torch import nn

import lightning_prune as lp
from lightning_prune.measure import measure_latency
from lightning_prune.measure.cuda_graph import CudaGraph
from lightning_prune.measure.memory import peak_bytes
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.pruning import BasePruner, Recipe, find_prunable

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 16, 3), nn.ReLU()
    ).cuda()


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raise wherever the host waits for the device."""
    try:
        with warnings.catch_warnings(action="ignore"):  # it is a prototype, torch says
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("granularity", [lp.Channel(), lp.Weight()], ids=str)
@pytest.mark.parametrize(
    "criterion", [lp.Gradient(), lp.Taylor(), lp.Fisher(), lp.Magnitude()], ids=str
)
def test_a_step_does_not_wait_for_the_device(
    criterion: lp.Criterion, granularity: lp.Granularity
) -> None:
    model, x = net(), torch.randn(8, 3, 16, 16, device="cuda")
    recipe = Recipe(0.5, criterion, granularity)
    pruner = BasePruner(model, recipe, find_prunable(recipe, model, x))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        pruner.accumulate(model.parameters())
        pruner.masks.apply_to_gradients()
        optimizer.step()
        pruner.masks.apply(list(model.parameters()))

    for _ in range(2):  # buffers are made, and masks
        step()
        pruner.update(0.25)
    step()
    with no_waiting():
        for _ in range(3):
            step()
    pruner.update(0.5)
    assert pruner.sparsity == pytest.approx(0.5, abs=0.05)


def fitted(*callbacks: L.Callback, **options: Any) -> Validated:
    model = Validated("AdamW")
    trainer = L.Trainer(
        accelerator="gpu",
        devices=1,
        max_epochs=4,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model, data(), data())
    return model


@pytest.mark.parametrize("during", [False, True])
@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_a_fit_becomes_compact_and_stays_exact(precision: Any, during: bool) -> None:
    pruning = lp.Pruning(0.6, schedule=lp.Linear(start_epoch=0, end_epoch=3))
    compaction = lp.Compaction(during=during)
    model = fitted(pruning, compaction, precision=precision)
    report = compaction.report
    assert report is not None
    assert report.removed > 0
    assert report.params_after < report.params_before
    assert report.latency_after is not None
    assert report.latency_after.device == "cuda:0"
    assert pruning.pruner is not None
    assert pruning.pruner.sparsity == pytest.approx(0.6, abs=0.1)
    assert sum(p.numel() for p in model.parameters()) == report.params_after


def test_compact_computes_what_masked_computed() -> None:
    model, x = net(), torch.randn(8, 3, 16, 16, device="cuda")
    lp.prune(model, x, sparsity=0.5, criterion=lp.Magnitude())
    masked = copy.deepcopy(model).eval()
    report = lp.compact(model, x)
    model.eval()
    assert report.removed > 0
    for size in (16, 23):
        inputs = torch.randn(5, 3, size, size, device="cuda")
        torch.testing.assert_close(model(inputs), masked(inputs), rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")
@pytest.mark.parametrize("backend", ["eager", "compile"])
def test_latency_is_that_of_the_device(backend: Any) -> None:
    model = nn.Sequential(nn.Linear(2048, 2048), nn.Linear(2048, 2048)).cuda()
    wide = measure_latency(model, torch.randn(4096, 2048), backend=backend)
    small = nn.Sequential(nn.Linear(2048, 64), nn.Linear(64, 2048)).cuda()
    narrow = measure_latency(small, torch.randn(4096, 2048), backend=backend)
    assert wide.device == "cuda:0"
    assert narrow.p50_ms < wide.p50_ms / 2


class Chain(nn.Module):
    """A hundred small operations, of which a buffer keeps the result."""

    def __init__(self, *, waits: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.01))
        self.register_buffer("last", torch.zeros(4))
        self.waits = waits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(100):
            x.mul_(self.scale)  # into the inputs: every run must have fresh ones
        if self.waits:
            x.sum().item()
        self.last.copy_(x)
        return x


def test_a_graph_computes_what_the_model_does_each_time_from_fresh_inputs() -> None:
    model, x = Chain().cuda(), torch.arange(4.0, device="cuda")
    before = torch.cuda.get_rng_state()
    graph = CudaGraph(model, ExampleInputs.of(x), x.device)
    model.last.zero_()
    for _ in range(2):
        graph.refill()
        graph.replay()
        torch.testing.assert_close(model.last, x * 1.01**100, rtol=1e-4, atol=1e-6)
    assert torch.equal(x, torch.arange(4.0, device="cuda"))
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_launches_are_left_out_of_a_graph() -> None:
    model, x = Chain().cuda(), torch.ones(4, device="cuda")
    launched = measure_latency(model, x)
    replayed = measure_latency(model, x, backend="cuda_graph")
    assert (launched.backend, replayed.backend) == ("eager", "cuda_graph")
    assert replayed.p50_ms < launched.p50_ms


def test_what_waits_for_the_device_is_measured_without_a_graph(
    caplog: pytest.LogCaptureFixture,
) -> None:
    x, stream = torch.ones(4, device="cuda"), torch.cuda.current_stream()
    mode = torch.cuda.get_sync_debug_mode()
    with caplog.at_level("WARNING"):
        measured = measure_latency(Chain(waits=True).cuda(), x, backend="cuda_graph")
    assert measured.backend == "eager"
    assert "without a CUDA graph" in caplog.text
    assert torch.cuda.current_stream() == stream
    assert torch.cuda.get_sync_debug_mode() == mode
    assert measure_latency(Chain().cuda(), x, backend="cuda_graph").backend == "cuda_graph"


def test_speed_is_asked_for_and_measured_in_graphs() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(64, 256, 3), nn.ReLU(), nn.Conv2d(256, 256, 3), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(256, 64, 3)).cuda()
    x = torch.randn(32, 64, 56, 56, device="cuda")
    report = lp.prune(
        model, x, sparsity=0.5, of="latency", backend="cuda_graph", criterion=lp.Magnitude()
    )
    assert report.speedup is not None
    assert report.speedup.ratio == pytest.approx(2.0, rel=0.1)


def test_peak_memory_is_that_of_the_device() -> None:
    x = torch.randn(1024, 1024, device="cuda")
    assert peak_bytes(lambda: (x + 1) * 2, [x]) >= x.numel() * 4


def test_speed_is_asked_for_and_measured_on_the_device() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(64, 256, 3), nn.ReLU(), nn.Conv2d(256, 256, 3), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(256, 64, 3)).cuda()
    x = torch.randn(32, 64, 56, 56, device="cuda")
    report = lp.prune(model, x, sparsity=0.5, of="latency", criterion=lp.Magnitude())
    assert report.speedup is not None
    assert report.speedup.ratio == pytest.approx(2.0, rel=0.1)


class Text(nn.Module):
    """An embedding, attention, a recurrent layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 32)
        self.encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.rnn = nn.GRU(32, 24, batch_first=True)
        self.head = nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.encoder(self.embed(x)))[0][:, -1])


class Images(nn.Module):
    """Convolutions with a residual branch, norms and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.inner = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.GELU())
        self.outer = nn.Sequential(nn.Conv2d(32, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.outer(self.inner(x))
        return self.head(x.mean((2, 3)))


def batches(kind: type[nn.Module]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(24, 3, 8, 8, generator=generator)
    words = torch.randint(0, 20, (24, 6), generator=generator)
    inputs = images if kind is Images else words
    labels = torch.randint(0, 3, (24,), generator=generator)
    return list(zip(inputs.split(8), labels.split(8), strict=True))


def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    device = next(model.parameters()).device
    return nn.functional.cross_entropy(model(batch[0].to(device)), batch[1].to(device))


WAYS: list[dict[str, Any]] = [
    *(
        {"criterion": kind()}
        for kind in (lp.Magnitude, lp.Gradient, lp.Taylor, lp.Fisher, lp.Wanda)
    ),
    *({"criterion": kind()} for kind in (lp.Lamp, lp.Snip, lp.Grasp, lp.SynFlow, lp.Random)),
    *({"criterion": kind()} for kind in (lp.ActivationRate, lp.GeometricMedian)),
    {"granularity": lp.Channel(round_to=4), "of": "macs"},
    {"granularity": lp.Weight()},
    {"granularity": lp.Block(4, 4)},
    {"granularity": lp.NM(2, 4), "sparsity": 0.5},
    {"granularity": lp.Layer(), "sparsity": 0.2},
    {"granularity": lp.Head(), "sparsity": 0.25},
    {"allocation": lp.Uniform()},
    {"allocation": lp.Isomorphic()},
    {"allocation": lp.ErdosRenyi(), "granularity": lp.Weight()},
    {"compensation": lp.LeastSquares()},
    {"compensation": lp.FoldMeans()},
    {"criterion": lp.Auto([lp.Magnitude(), lp.Taylor()])},
]


def _name(way: dict[str, Any]) -> str:
    return " ".join(str(value) for value in way.values())


@pytest.mark.parametrize("kind", [Images, Text], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("way", WAYS, ids=_name)
def test_the_same_units_go_on_both_devices(way: dict[str, Any], kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, data_, zeros, problems = kind(), batches(kind), [], []
    for device in ("cpu", "cuda"):
        net, x = copy.deepcopy(model).to(device), data_[0][0].to(device)
        options = {"sparsity": 0.4, "criterion": lp.Magnitude(), **way}
        try:
            lp.prune(net, x, batches=data_, loss=loss, **options)
        except (ValueError, lp.TargetError) as error:  # no heads there, say
            problems.append(str(error))
            continue
        zeros.append({name: (p == 0).cpu() for name, p in net.named_parameters()})
        masked = copy.deepcopy(net).eval()
        if kind is Text:
            masked.rnn.flatten_parameters()  # torch's own copies are not
        lp.compact(net, x, latency=False)
        torch.testing.assert_close(net.eval()(x), masked(x), rtol=1e-3, atol=1e-4)
    assert len(zeros) != 1
    assert problems[:1] == problems[1:]
    if zeros:
        for name, where in zeros[0].items():
            assert torch.equal(where, zeros[1][name]), name


def test_a_loop_of_ones_own_and_its_files(tmp_path: Any) -> None:
    model, x = net(), torch.randn(8, 3, 16, 16, device="cuda")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    schedule = lp.Cubic(start_epoch=1, end_epoch=4)
    pruner = lp.Pruner(model, x, sparsity=0.5, schedule=schedule)
    pruner.attach(optimizer)
    for epoch in range(6):
        pruner.step(epoch)
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert pruner.finish().removed > 0
    lp.save_compact(model, tmp_path / "small.safetensors")
    loaded = lp.load_compact(net(), tmp_path / "small.safetensors")
    assert torch.equal(loaded.eval()(x), model.eval()(x))


def test_sensitivity_is_measured_on_the_device() -> None:
    model, x = net(), torch.randn(8, 3, 16, 16, device="cuda")

    def metric(model: nn.Module, batch: torch.Tensor) -> float:
        return float(model(batch).square().mean())

    report = lp.sensitivity(model, x, metric, example_inputs=x, progress=False)
    assert str(report)
