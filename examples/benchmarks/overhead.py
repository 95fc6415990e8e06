"""What pruning costs in a training step, beside Lightning's own `ModelPruning`.

    python examples/benchmarks/overhead.py --threads 1

The same network is trained in several Trainers at once, which take their steps in turns: plain,
with half of its channels masked, masked and scored as between two updates, and scored in one of ten
steps; then the same for single weights, beside `ModelPruning` (half of all weights). A time is that
of a whole step of the loop, from one batch to the next, with all hooks; a ratio is the median of
those to the plain step of the same turn, with its 95% interval. Beside it are the bytes that a
callback holds between two updates, relative to those of the weights. Writes a Markdown table to
`OUTPUT.md` and the ratios to `OUTPUT.csv`.

The worst case is a small batch: pruning works on weights, whatever the batch.
"""

from __future__ import annotations

import argparse
import csv
import gc
import logging
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from lightning.pytorch.callbacks import Callback, ModelPruning
from scipy.stats import bootstrap
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

import lightning_prune as lp

FIRST = 5
"""The step of the update; then all have as much masked."""


def small_cnn() -> tuple[nn.Module, Tensor]:
    """Return a network of 100 thousand weights, and a batch of 64 small images."""
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    return net, torch.randn(64, 3, 32, 32)


def resnet18() -> tuple[nn.Module, Tensor]:
    """Return ResNet-18, and a batch of 16 images of 64 pixels."""
    return torchvision.models.resnet18(num_classes=10), torch.randn(16, 3, 64, 64)


NETS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "ResNet-18": resnet18,
    "CNN of 100 k": small_cnn,
}


def pruning(last: int, *, scored: bool, **options: Any) -> lp.Pruning:
    """Return our callback: half goes in one step, and more in the last one if it is to score."""
    shares = {FIRST: 5 / 6, last: 1.0} if scored else {FIRST: 1.0}
    return lp.Pruning(
        sparsity=0.6 if scored else 0.5, of="units", schedule=lp.Steps(steps=shares), **options
    )


def model_pruning(last: int) -> ModelPruning:
    """Return Lightning's callback, which prunes at the ends of epochs."""
    return ModelPruning("l1_unstructured", amount=0.5, apply_pruning=lambda epoch: epoch == 0)


WAYS: dict[str, Callable[[int], Callback] | None] = {
    "plain": None,
    "masks": partial(pruning, scored=False),
    "masks and scores": partial(pruning, scored=True),
    "scores of one step in ten": partial(pruning, scored=True, score_every=10),
    "single weights, masks": partial(pruning, scored=False, granularity=lp.Weight()),
    "single weights, masks and scores": partial(pruning, scored=True, granularity=lp.Weight()),
    "single weights, ModelPruning": model_pruning,
}


def callbacks_of(way: str, last: int) -> list[Callback]:
    """Return the callbacks of a way to train.

    Args:
        way: a key of `WAYS`.
        last: the last step of the training.
    """
    make = WAYS[way]
    return [] if make is None else [make(last)]


class Module(L.LightningModule):
    """A classifier trained by SGD with momentum.

    Args:
        net: the network.
        images: a batch for it.
    """

    def __init__(self, net: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.net, self.images, self.example_input_array = net, images, images[:2]

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.net(images)
        return logits

    @override
    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Return the loss."""
        return F.cross_entropy(self(batch[0]), batch[1])

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=1e-3, momentum=0.9)


class TakesTurns(Callback):
    """Lets one of several trainings take a step, and times it.

    Args:
        turn: whose it is, shared by all.
        number: that of this training.
        of: how many there are.
        device: where they train.
    """

    def __init__(self, turn: list[int], changed: threading.Condition, number: int, of: int) -> None:
        self._turn, self._changed, self._number, self._of = turn, changed, number, of
        self._started_s: float | None = None
        self.seconds: list[float] = []

    @override
    def on_train_batch_start(self, *_: Any) -> None:
        """End a step: hand over, wait for the next turn, and begin one."""
        if self._started_s is not None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds.append(time.perf_counter() - self._started_s)
            self._hand_over()
        with self._changed:
            if not self._changed.wait_for(lambda: self._turn[0] == self._number, timeout=300):
                raise RuntimeError("Another training has ended before its last step.")
        self._started_s = time.perf_counter()

    @override
    def on_train_end(self, *_: Any) -> None:
        """Let the others go on."""
        self._hand_over()

    def _hand_over(self) -> None:
        with self._changed:
            self._turn[0] = (self._number + 1) % self._of
            self._changed.notify_all()


def fit(module: Module, steps: int, epochs: int, device: str, callbacks: list[Callback]) -> None:
    """Train a module on its one batch, again and again.

    Args:
        module: the module.
        steps: of an epoch.
        epochs: how many.
        device: an accelerator of Lightning.
        callbacks: those of the training.
    """
    images = module.images
    data = TensorDataset(images, torch.arange(len(images)) % 10)
    loader = DataLoader(data, batch_size=len(images), sampler=[*range(len(images))] * steps)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator=device,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    trainer.fit(module, loader)


def train_in_turns(name: str, ways: list[str], steps: int, device: str) -> dict[str, list[float]]:
    """Train one network in every way, a step of each at a time.

    Returns:
        Seconds of the steps after the masks are there, by the way.
    """
    turn, changed = [0], threading.Condition()
    timers, threads = {}, []
    for number, way in enumerate(ways):
        torch.manual_seed(0)
        module = Module(*NETS[name]())
        timers[way] = TakesTurns(turn, changed, number, len(ways))
        callbacks = [*callbacks_of(way, 2 * steps - 1), timers[way]]
        # Two epochs, as `ModelPruning` prunes at the end of the first one.
        threads.append(threading.Thread(target=fit, args=(module, steps, 2, device, callbacks)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The last step may bring an update.
    return {way: timer.seconds[FIRST - steps : -1] for way, timer in timers.items()}


def train_alternating(name: str, steps: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Train one network that is scored in every second step.

    Returns:
        Seconds of the steps that are scored, and of those that follow each of them.
    """
    torch.manual_seed(0)
    timer = TakesTurns([0], threading.Condition(), 0, 1)
    callbacks = [pruning(2 * steps - 1, scored=True, score_every=2), timer]
    fit(Module(*NETS[name]()), 2 * steps, 1, device, callbacks)
    # The first step after the update is scored. The last one may bring an update.
    seconds = np.array(timer.seconds[FIRST : 2 * steps - 2 - FIRST % 2])
    pairs = seconds[: len(seconds) // 2 * 2].reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


class CountsBytes(Callback):
    """Counts the bytes of what is alive beside weights, gradients and the optimizer's state."""

    found = 0

    @override
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Count after the second step with masks."""
        if trainer.global_step == FIRST + 2:
            known = [*pl_module.parameters(), *pl_module.buffers()]
            known += [p.grad for p in pl_module.parameters() if p.grad is not None]
            states = trainer.optimizers[0].state.values()
            known += [v for s in states for v in s.values() if isinstance(v, Tensor)]
            self.found = tensor_bytes(except_for=known)


def held_bytes(name: str, way: str, device: str) -> int:
    """Return the bytes of tensors beside the training's own, between two updates."""
    torch.manual_seed(0)
    module, counts = Module(*NETS[name]()), CountsBytes()
    before = tensor_bytes(except_for=[*module.parameters(), *module.buffers()])
    fit(module, FIRST + 5, 1, device, [*callbacks_of(way, FIRST + 4), counts])
    return counts.found - before


def tensor_bytes(except_for: list[Tensor]) -> int:
    """Return the bytes of all tensors that are alive, without some."""
    gc.collect()
    known = {t.untyped_storage().data_ptr() for t in except_for}
    storages = {}
    for value in gc.get_objects():
        if type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided:
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(size for pointer, size in storages.items() if pointer not in known)


def ratio_text(times: np.ndarray, plain: np.ndarray) -> str:
    """Return the median ratio to the plain step of the same turn, and its 95% interval."""
    ratios = times / plain
    low, high = bootstrap([ratios], np.median, method="percentile", rng=0).confidence_interval
    return f"{np.median(ratios):.3f} ({low:.3f}-{high:.3f})"


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="*", choices=NETS, default=list(NETS))
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--device", default="cpu", help="an accelerator of Lightning")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="without a suffix")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning_prune").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    ways = list(dict.fromkeys(["plain", *arguments.ways]))
    lines = ["| net | way | step, p50 | ratio (95% interval) | held, of the weights |"]
    lines.append("| --- | --- | --- | --- | --- |")
    rows = []
    for name in arguments.nets:
        seconds = train_in_turns(name, ways, arguments.steps, arguments.device)
        plain = np.array(seconds["plain"])
        weights = 4 * sum(p.numel() for p in NETS[name]()[0].parameters())
        own = held_bytes(name, "plain", arguments.device)
        for way in ways:
            times = np.array(seconds[way])
            held = (held_bytes(name, way, arguments.device) - own) / weights
            shown = "" if way == "plain" else f"{max(held, 0):.1%}"
            ms = f"{1e3 * np.median(times):.1f} ms"
            lines.append(f"| {name} | {way} | {ms} | {ratio_text(times, plain)} | {shown} |")
            rows += [(name, way, turn, one) for turn, one in enumerate(times / plain)]
        scored, between = train_alternating(name, arguments.steps, arguments.device)
        ms = f"{1e3 * np.median(scored):.1f} ms"
        lines.append(f"| {name} | scores by themselves | {ms} | {ratio_text(scored, between)} | |")
        pairs = enumerate(scored / between)
        rows += [(name, "scores by themselves", turn, one) for turn, one in pairs]
    print(
        f"torch {torch.__version__}, lightning {L.__version__}, {arguments.device}, "
        f"{arguments.threads} threads, {len(plain)} turns\n"
    )
    print("\n".join(lines))
    if arguments.output:
        arguments.output.with_suffix(".md").write_text("\n".join(lines) + "\n")
        with arguments.output.with_suffix(".csv").open("w", newline="") as file:
            csv.writer(file).writerows([("net", "way", "turn", "ratio"), *rows])


if __name__ == "__main__":
    main()
