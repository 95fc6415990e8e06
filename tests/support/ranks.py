"""One run on one or two processes, for the tests of several ranks; also a script.

``python ranks.py single|ddp|fsdp FOLDER OPTIONS`` trains on the same global batches whatever the
number of processes, and writes what each rank ends with. The variable NAMESPACE may name the other
package of Lightning.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_prune as lp

L: Any = import_module(os.environ.get("NAMESPACE", "lightning.pytorch"))
BATCH = 8
BATCHES = 4
AUTO = lp.Auto([lp.Random(), lp.Wanda(), lp.Candidate(lp.Taylor(), lp.Uniform())])


class Net(L.LightningModule):
    """A perceptron with odd widths, so that shards are uneven."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(5, 13), nn.ReLU(), nn.Linear(13, 9), nn.ReLU(), nn.Linear(9, 3)
        )

    def configure_model(self) -> None:
        if not isinstance(self.trainer.strategy, L.strategies.ModelParallelStrategy):
            return
        from torch.distributed.fsdp import fully_shard

        if hasattr(self.net[0].weight, "full_tensor"):
            return
        mesh = self.device_mesh["data_parallel"]
        for index in (0, 2):
            fully_shard(self.net[index], mesh=mesh)
        fully_shard(self.net, mesh=mesh)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("val_loss", loss, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Revived(L.Callback):
    """Counts weights that were exactly zero after one step and are not after a later one."""

    def __init__(self) -> None:
        self.count = 0
        self.zeros: dict[str, Tensor] = {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        for name, parameter in pl_module.named_parameters():
            if parameter.dim() < 2:
                continue
            part = parameter.to_local() if hasattr(parameter, "to_local") else parameter
            zeros = part.detach() == 0
            before = self.zeros.get(name, zeros)
            if before.shape == zeros.shape:  # else it has become compact
                self.count += int((before & ~zeros).sum())
            self.zeros[name] = zeros


class Released(L.Callback):
    """Copies the weights as the first step after a release finds them, and counts them always."""

    def __init__(self) -> None:
        self.weights: list[float] = []
        self.sizes: list[int] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.sizes.append(sum(p.numel() for p in pl_module.parameters()))
        if trainer.global_step == 3 * BATCHES:
            self.weights = _flat(pl_module)


class Die(L.Callback):
    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 3 * BATCHES + 1:
            raise SystemExit(3)


def strategy(mode: str) -> Any:
    if mode == "fsdp":
        return L.strategies.ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    return mode if mode == "ddp" else "auto"


def main(mode: str, folder: str, options: dict[str, Any]) -> None:
    L.seed_everything(0, verbose=False)
    world = 1 if mode == "single" else 2
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH * BATCHES, 5, generator=generator)
    y = torch.randint(0, 3, (BATCH * BATCHES,), generator=generator)
    # Rows are dealt out in turns, without the shuffling of lightning's distributed sampler.
    rows = range(int(os.environ.get("LOCAL_RANK", "0")), len(x), world)
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH // world, sampler=rows)
    granularity = {"Weight": lp.Weight(), "Channel": lp.Channel()}[options["granularity"]]
    pruning = lp.Pruning(
        0.5,
        AUTO if options["criterion"] == "Auto" else getattr(lp, options["criterion"])(),
        granularity=granularity,
        schedule=(
            lp.DenseSparseDense(start_epoch=1, end_epoch=3)
            if options.get("falls")
            else lp.Linear(start_epoch=options.get("start", 0), end_epoch=4)
        ),
        compensation=lp.LeastSquares() if options.get("compensation") else None,
    )
    revived, released = Revived(), Released()
    callbacks: list[L.Callback] = [pruning, revived, released]
    if "distil" in options:
        callbacks.append(lp.Distillation(start_epoch=options["distil"]))
    if options.get("compact"):
        path = f"{folder}/small.safetensors"
        during = options["compact"] == "during"
        callbacks.append(lp.Compaction(during=during, min_gain=0.05, path=path, latency=False))
    if options.get("save"):
        save = L.callbacks.ModelCheckpoint(options["save"], filename="{epoch}", save_top_k=-1)
        callbacks.append(save)
        callbacks.append(Die())
    trainer = L.Trainer(
        accelerator="cpu",
        devices=world,
        strategy=strategy(mode),
        max_epochs=6,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=bool(options.get("save")),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    net = Net()
    trainer.fit(net, loader, loader, ckpt_path=options.get("resume"))
    assert pruning.pruner is not None
    for module in net.modules():  # the validation has left the last layer gathered
        if hasattr(module, "reshard"):
            module.reshard()
    compared = None if pruning.report is None else pruning.report.comparison
    result = {
        "tried": [] if compared is None else [one.value for one in compared.tried],
        "kept": [kept.tolist() for kept in pruning.pruner.masks.kept],
        "sparsity": pruning.pruner.sparsity,
        "revived": revived.count,
        "sharded": any(hasattr(p, "full_tensor") for p in net.parameters()),
        "shapes": [list(p.shape) for p in net.parameters()],
        "released": released.weights,
        "sizes": released.sizes,
        "weights": _flat(net),
        "zeros": int(sum((_whole(p) == 0).sum() for p in net.parameters() if p.dim() > 1)),
    }
    trainer.strategy.barrier()  # else one rank ends while another still gathers
    (Path(folder) / f"{mode}{trainer.global_rank}.json").write_text(json.dumps(result))


def _flat(net: nn.Module) -> list[float]:
    return torch.cat([_whole(p).detach().flatten() for p in net.parameters()]).tolist()


def _whole(parameter: Any) -> Tensor:
    return parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
