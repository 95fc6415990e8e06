"""Modules of any batch and any loss are pruned and compacted without example inputs."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning as L
import pytest
import torch
import torchmetrics
from support.fits import make_trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils._pytree import tree_leaves

import lightning_prune as lp

CLASSES = 3


class Lit(L.LightningModule):
    """What the modules below have in common."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU())
        self.head = nn.Linear(12, CLASSES)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.05)


class Masked(L.Callback):
    """Copies the module just before it is compacted."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.model = copy.deepcopy(pl_module)


def shrunk(
    model: L.LightningModule, batches: list[Any], *steps: str, **options: Any
) -> lp.CompactionReport:
    """Fit, prune and compact; the compact module computes what the masked one does."""
    pruning, masked = lp.Pruning(0.5, **options), Masked()
    compaction = lp.Compaction(latency=False, **options)
    trainer = make_trainer(pruning, masked, compaction, epochs=2)
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    loaders = [loader] * (2 if "validation_step" in steps else 1)
    trainer.fit(model, *loaders)
    assert pruning.report is not None
    assert compaction.report is not None
    assert compaction.report.refused == {}
    assert compaction.report.removed > 0
    assert pruning.report.sparsity == pytest.approx(0.5, abs=0.15)
    for step in steps:
        for other_batch in batches[:2]:
            same(masked.model, model, lambda it, b=other_batch, s=step: called(it, s, b, trainer))
    make_trainer(epochs=1).fit(model, *loaders)  # it trains on
    return compaction.report


def called(model: Any, step: str, batch: Any, trainer: L.Trainer) -> list[Any]:
    model = copy.deepcopy(model).eval()
    model._trainer, logged = trainer, []
    model.log = lambda name, value, **options: logged.append(value)
    method = getattr(model, step)
    with torch.no_grad():
        return [method(*(batch, 0)[: len(inspect.signature(method).parameters)]), logged]


def same(masked: nn.Module, compact: nn.Module, call: Callable[[Any], Any]) -> None:
    pairs = zip(tree_leaves(call(masked)), tree_leaves(call(compact)), strict=True)
    compared = [
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        for a, b in pairs
        if isinstance(a, Tensor)
    ]
    assert compared


def rows(count: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 6), torch.randint(CLASSES, (count,))


class OfDicts(Lit):
    """``forward`` takes the whole batch, as forecasters do with a window."""

    def forward(self, window: dict[str, Any]) -> Tensor:
        return self.head(self.body(window["insample"]))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        window = {"insample": batch["temporal"], "static": None}
        return cross_entropy(self(window), batch["y"])


def test_a_batch_that_is_a_dict() -> None:
    batches = [dict(zip(("temporal", "y"), rows(), strict=True)) for _ in range(4)]
    shrunk(OfDicts(), batches, "training_step")


@dataclass
class Graph:
    """As graph libraries have it: nodes, the edges between them, and the graph of each node."""

    x: Tensor
    edge_index: Tensor
    y: Tensor

    def to(self, device: Any) -> Graph:
        return Graph(*(t.to(device) for t in (self.x, self.edge_index, self.y)))


class OfGraphs(Lit):
    def forward(self, graph: Graph) -> Tensor:
        h = self.body(graph.x)
        source, target = graph.edge_index
        return self.head(h.index_add(0, target, h[source]))

    def training_step(self, batch: Graph) -> Tensor:
        return cross_entropy(self(batch), batch.y)


def graph() -> Graph:
    x, y = rows(5)
    return Graph(x, torch.randint(5, (2, 7)), y)


def test_a_batch_that_is_a_graph() -> None:
    shrunk(OfGraphs(), [graph() for _ in range(4)], "training_step", "forward")


@dataclass(eq=False, slots=True)
class Bonds:
    """As chemprop has it: atoms, directed bonds, the reverse of each, the molecule of each atom."""

    V: Tensor
    E: Tensor
    edge_index: Tensor
    rev_edge_index: Tensor
    batch: Tensor

    def to(self, device: Any) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name).to(device))

    def __len__(self) -> int:
        return int(self.batch.max()) + 1


class Molecules(NamedTuple):
    """A batch of chemprop: a batched graph, descriptors, and targets of which some are unknown."""

    bmg: Bonds
    V_d: Tensor | None
    Y: Tensor
    w: Tensor


class OfMolecules(L.LightningModule):
    """Messages pass along the bonds, but not back to where they came from."""

    def __init__(self) -> None:
        super().__init__()
        self.W_i, self.W_h = nn.Linear(6 + 3, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.W_o, self.bn = nn.Linear(6 + 16, 16), nn.BatchNorm1d(16)
        self.predictor = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 2))

    @staticmethod
    def summed(h: Tensor, to: Tensor, count: int) -> Tensor:
        to = to.unsqueeze(1).repeat(1, h.shape[1])
        zeros = torch.zeros(count, h.shape[1], dtype=h.dtype, device=h.device)
        return zeros.scatter_reduce_(0, to, h, reduce="sum", include_self=False)

    def forward(self, bmg: Bonds, V_d: Tensor | None = None) -> Tensor:  # noqa: N803 as there
        source, target = bmg.edge_index
        h_0 = self.W_i(torch.cat([bmg.V[source], bmg.E], dim=1))
        h = h_0.relu()
        for _ in range(2):
            arriving = self.summed(h, target, len(bmg.V))[source]
            h = (h_0 + self.W_h(arriving - h[bmg.rev_edge_index])).relu()
        h = self.W_o(torch.cat((bmg.V, self.summed(h, target, len(bmg.V))), dim=1)).relu()
        return self.predictor(self.bn(self.summed(h, bmg.batch, len(bmg))))

    def training_step(self, batch: Molecules, batch_idx: int) -> Tensor:
        bmg, descriptors, targets, weights = batch
        known = targets.isfinite()
        losses = mse_loss(self(bmg, descriptors), targets.nan_to_num(0.0), reduction="none")
        self.log("train_loss", losses.mean(), batch_size=len(bmg))
        return (losses * weights * known).sum() / known.sum()

    def predict_step(self, batch: Molecules, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        return self(batch.bmg, batch.V_d)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.01)


def molecules() -> Molecules:
    """Return five atoms in a ring and four in a chain, as two molecules."""
    pairs = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (5, 6), (6, 7), (7, 8)]
    edges = torch.tensor([edge for a, b in pairs for edge in ((a, b), (b, a))]).T
    back = torch.arange(2 * len(pairs)) ^ 1
    batch = torch.tensor([0] * 5 + [1] * 4)
    targets = torch.tensor([[1.0, float("nan")], [float("nan"), 2.0]])
    bonds = Bonds(torch.randn(9, 6), torch.randn(len(back), 3), edges, back, batch)
    return Molecules(bonds, None, targets, torch.ones(2, 1))


def test_a_batch_of_molecules_in_a_named_tuple() -> None:
    model = OfMolecules()
    shrunk(model, [molecules() for _ in range(4)], "training_step", "predict_step")
    loader = torch.utils.data.DataLoader([molecules()], batch_size=None)
    (predicted,) = make_trainer().predict(model, loader) or []
    assert predicted.shape == (2, 2)


class OfTuples(Lit):
    """``forward`` takes one tuple, as the forecasters of darts do."""

    def forward(self, x_in: tuple[Tensor, Tensor | None]) -> Tensor:
        return self.head(self.body(x_in[0]))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        past, future = batch
        return mse_loss(self((past, None)), future)


def test_a_forward_that_takes_a_tuple() -> None:
    shrunk(OfTuples(), [[torch.randn(4, 6), torch.randn(4, 3)] for _ in range(4)], "training_step")


class OfTexts(L.LightningModule):
    """A language model is called with the whole batch, labels and all."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertForSequenceClassification

        config = BertConfig(
            vocab_size=20,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=16,
            max_position_embeddings=12,
            num_labels=CLASSES,
            attn_implementation="eager",
        )
        self.model = BertForSequenceClassification(config)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        out = self.model(**batch)
        self.log("accuracy", (out.logits.argmax(-1) == batch["labels"]).float().mean())
        return out.loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def test_a_batch_of_texts_with_labels_and_no_forward() -> None:
    from transformers import BatchEncoding

    batches = [
        BatchEncoding(
            {
                "input_ids": torch.randint(20, (3, 7)),
                "attention_mask": torch.ones(3, 7, dtype=torch.long),
                "labels": torch.randint(CLASSES, (3,)),
            }
        )
        for _ in range(4)
    ]
    shrunk(OfTexts(), batches, "training_step")


class Heads(Lit):
    """Training reads hidden features, through a head of its own and as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        hidden = self.body[:2](x)
        loss = cross_entropy(self.head(self.body[2:](hidden)), y)
        self.log("hidden", hidden.square().sum())
        return loss + cross_entropy(self.auxiliary(hidden), y) + hidden.square().sum(1).mean()


def test_a_head_and_a_loss_that_only_training_reads() -> None:
    model = Heads()
    report = shrunk(model, [list(rows()) for _ in range(4)], "training_step")
    assert report.unused == ()
    assert model.auxiliary.in_features == model.body[0].out_features < 16


class Tied(L.LightningModule):
    """The weight of the embedding is read by the loss, outside of ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.mix = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 16))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.mix(self.embed(tokens)).sum(-1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        logits = self.mix(self.embed(batch[0])) @ self.embed.weight.T
        return cross_entropy(logits.flatten(0, 1), batch[1].flatten())

    configure_optimizers = OfTexts.configure_optimizers


def test_a_loss_that_reads_the_weight_of_an_embedding() -> None:
    model = Tied()
    batches = [[torch.randint(20, (3, 5)), torch.randint(20, (3, 5))] for _ in range(4)]
    shrunk(model, batches, "training_step")
    assert model.embed.embedding_dim == model.mix[2].out_features < 16


class Judging(Lit):
    """The validation reads hidden features against a buffer, and logs what comes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centres", torch.randn(5, 12))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("distance", torch.cdist(self.body(batch[0]), self.centres).min(1).values.mean())


def test_what_the_validation_logs_stays_the_same() -> None:
    model = Judging()
    batches = [list(rows()) for _ in range(4)]
    shrunk(model, batches, "training_step", "validation_step")
    assert model.body[0].out_features < 16
    assert model.body[2].out_features == model.centres.shape[1]


class Asking(Heads):
    """Every step asks the Trainer, tells a logger, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=CLASSES)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        assert isinstance(self.optimizers().param_groups[0]["lr"], float)
        self.accuracy(self(batch[0]), batch[1])
        self.log("accuracy", self.accuracy)
        return super().training_step(batch, batch_idx) / self.trainer.max_epochs


def test_a_step_with_metrics_that_asks_the_trainer() -> None:
    shrunk(Asking(), [list(rows()) for _ in range(4)], "training_step")


class Student(Lit):
    """Views of one input agree; a frozen teacher follows the student."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = copy.deepcopy(self.body).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        (one, other), _ = batch
        with torch.no_grad():
            self.follow()
        return mse_loss(self.body(one), self.teacher(other)) + self(one).square().mean()

    def follow(self) -> None:
        for p, q in zip(self.body.parameters(), self.teacher.parameters(), strict=True):
            q.lerp_(p, 0.1)


class Replacing(Student):
    def follow(self) -> None:
        for p, q in zip(self.body.parameters(), self.teacher.parameters(), strict=True):
            q.data = q.data * 0.9 + p.data * 0.1


class Adding(Student):
    def follow(self) -> None:
        for p, q in zip(self.body.parameters(), self.teacher.parameters(), strict=True):
            q.data.mul_(0.9).add_(p.detach().data, alpha=0.1)


class Listing(Student):
    def follow(self) -> None:
        mine, its = list(self.body.parameters()), list(self.teacher.parameters())
        torch._foreach_mul_(its, 0.9)
        torch._foreach_add_(its, mine, alpha=0.1)


class Later(Student):
    """The teacher follows after the step, which a hook prepares."""

    def on_train_batch_start(self, batch: list[Any], batch_idx: int) -> None:
        self.views = batch[0]

    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        return mse_loss(self.body(self.views[0]), self.teacher(self.views[1]))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            self.follow()


@pytest.mark.parametrize(
    "kind", [Student, Replacing, Adding, Listing, Later], ids=lambda kind: kind.__name__
)
def test_a_teacher_shrinks_with_the_student_that_it_follows(kind: type[Student]) -> None:
    model = kind()
    batches = [[[torch.randn(4, 6), torch.randn(4, 6)], torch.zeros(4)] for _ in range(4)]
    shrunk(model, batches, "training_step")
    shapes = [[p.shape for p in part.parameters()] for part in (model.body, model.teacher)]
    assert shapes[0] == shapes[1]
    assert model.body[0].out_features < 16


class Follow(L.Callback):
    """Lets the teacher follow, of which the module itself knows nothing."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        with torch.no_grad():
            Student.follow(pl_module)


class Led(Student):
    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        return mse_loss(self(batch[0][0]), self.head(self.teacher(batch[0][1])))


def test_a_teacher_that_another_callback_leads_keeps_its_size_and_is_named(caplog: Any) -> None:
    model, compaction = Led(), lp.Compaction(latency=False)
    batches = [[[torch.randn(4, 6), torch.randn(4, 6)], torch.zeros(4)] for _ in range(4)]
    trainer = make_trainer(lp.Pruning(0.3), Follow(), compaction, epochs=2)
    trainer.fit(model, torch.utils.data.DataLoader(batches, batch_size=None))
    assert model.body[0].out_features < model.teacher[0].out_features == 16
    [warning] = [r.getMessage() for r in caplog.records if "full size" in r.getMessage()]
    assert "teacher.0, teacher.2 kept the full size" in warning


class Gan(Lit):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        optimizer = self.optimizers()
        loss = cross_entropy(self(batch[0]), batch[1])
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


def test_manual_optimization_leaves_the_batch_and_says_so() -> None:
    with pytest.warns(UserWarning, match="training step of Gan .* optimizes manually"):
        shrunk(Gan(), [list(rows()) for _ in range(4)])


class Detector(L.LightningModule):
    """A detector takes a list of images and a list of targets."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.detection import FasterRCNN
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.ops import MultiScaleRoIAlign

        backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()
        )
        backbone.out_channels = 16
        self.net = FasterRCNN(
            backbone,
            num_classes=None,
            min_size=32,
            max_size=48,
            rpn_anchor_generator=AnchorGenerator(((8, 16),), ((1.0,),)),
            box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
            box_head=nn.Sequential(nn.Flatten(), nn.Linear(16 * 9, 24), nn.ReLU()),
            box_predictor=Predictor(),
            rpn_pre_nms_top_n_train=20,
            rpn_post_nms_top_n_train=10,
            rpn_pre_nms_top_n_test=20,
            rpn_post_nms_top_n_test=10,
        )

    def forward(self, images: list[Tensor]) -> Any:
        return self.net(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return sum(self.net(*batch).values())  # type: ignore[return-value]

    configure_optimizers = OfTexts.configure_optimizers


class Predictor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classes, self.boxes = nn.Linear(24, CLASSES), nn.Linear(24, 4 * CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.classes(x), self.boxes(x)


@pytest.mark.slow
def test_a_detector() -> None:
    def targets() -> dict[str, Tensor]:
        return {"boxes": torch.tensor([[2.0, 2, 20, 20]]), "labels": torch.tensor([1])}

    batches = [[[torch.rand(3, 32, 40), torch.rand(3, 36, 32)], [targets(), targets()]]] * 2
    model = Detector()
    shrunk(model, batches)
    assert model.net.rpn.head.conv[0][0].out_channels < 16
