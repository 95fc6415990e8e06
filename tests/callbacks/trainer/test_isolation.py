from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import torch
import torchmetrics
from torch import Tensor, nn

from lightning_prune.callbacks.trainer.steps import try_steps
from lightning_prune.modules.twin import twin

BATCH = [torch.randn(4, 3), torch.randint(2, (4,))]


class Loud(L.LightningModule):
    """Speaks to everyone that there is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.accuracy = torchmetrics.Accuracy("binary")
        self.count = nn.Parameter(torch.zeros(2), requires_grad=False)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        out = self.layer(batch[0])
        loss = nn.functional.cross_entropy(out, batch[1])
        self.accuracy(out.argmax(1), batch[1])
        self.log("loss", loss.detach())
        self.log_dict({"accuracy": self.accuracy, "twice": 2 * loss.detach()})
        self.print("heard")
        self.logger.experiment.add_scalar("loss", loss)
        self.trainer.should_stop = True
        self.trainer.callback_metrics["loss"] = loss
        self.count += random.random() + np.random.rand()
        self.layer.weight.data.mul_(2)
        return loss * self.optimizers().param_groups[0]["lr"]


def trainer() -> Any:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    return SimpleNamespace(
        logger=SimpleNamespace(),
        loggers=[],
        should_stop=False,
        callback_metrics={},
        optimizers=[optimizer],
        is_global_zero=True,
    )


def test_a_step_is_heard_by_nobody_and_changes_nothing(capsys: Any) -> None:
    model, attached = Loud(), trainer()
    model._trainer = attached
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    found = try_steps(model, BATCH)
    assert found.failures == {}
    assert found.averaged == {"count"}
    assert (attached.should_stop, attached.callback_metrics) == (False, {})
    assert capsys.readouterr().out == ""
    assert model.accuracy.update_count == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert states == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    assert model._trainer is attached
    assert "log" not in vars(model)


def test_what_a_step_logs_is_compared_like_what_it_returns() -> None:
    model = Loud()
    model._trainer = trainer()
    [step] = try_steps(model, BATCH).examples
    loss = nn.functional.cross_entropy(model.layer(BATCH[0]), BATCH[1])
    found = step(twin(model))
    assert torch.allclose(torch.stack(found), torch.stack([loss / 2, loss, 2 * loss]))
