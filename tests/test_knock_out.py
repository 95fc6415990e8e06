"""Without any one rule nothing is silently wrong: compact and exact, refused, or an error.

An operation whose rule is missing is decomposed, or freezes what it touches; should the labels be
wrong all the same, verification must notice.
"""

import copy
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from support.oracle import (
    TOLERANCE,
    half_of_every_group,
    outputs,
    randomize,
    relative_error,
    zeroed,
)
from support.tiny_zoo import ZOO
from torch import Tensor, nn

from lightning_prune.compaction import compact
from lightning_prune.coupling import couple
from lightning_prune.coupling.record import record
from lightning_prune.coupling.rules import RULES
from lightning_prune.errors import PruningError
from lightning_prune.modules.inputs import ExampleInputs


class Attentive(nn.Module):
    """A transformer block written by hand, with sizes as numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.place = nn.Parameter(torch.randn(1, 4, 16))
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)
        self.rms = nn.RMSNorm(16)
        self.up = nn.Linear(16, 24)
        self.down = nn.Linear(12, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 8, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        q, k, v = self.qkv(self.norm(x)).reshape(-1, 4, 3, 4, 4).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / 2).softmax(-1)
        mixed = torch.einsum("bhij,bhjd->bhid", weights, v) + F.scaled_dot_product_attention(
            q, k, v
        )
        x = x + self.out(mixed.transpose(1, 2).reshape(-1, 4, 16))
        a, b = self.up(self.rms(x)).split(12, dim=-1)
        x = x + self.down(F.silu(a) * b[..., :12])
        return self.head(self.encoder(x).mean(1))


class Assorted(nn.Module):
    """Operations on images and sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.group = nn.GroupNorm(4, 8)
        self.grouped = nn.Conv2d(8, 16, 3, groups=4, padding=1)
        self.slope = nn.PReLU(16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.instance = nn.InstanceNorm2d(8, affine=True)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 16, 1))
        self.rnn = nn.GRU(4, 6, batch_first=True)
        self.head = nn.Linear(6 + 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.group(self.stem(x)))
        x = self.slope(self.grouped(F.pad(x, (1, 1, 1, 1))))
        x = self.instance(self.up(x))
        x = F.glu(self.normed(x), 1)
        x = torch.cat([x, F.max_pool2d(x, 3, 1, 1)], 1)
        x = F.pixel_shuffle(x, 2)
        x = F.interpolate(x, scale_factor=0.5, mode="nearest")
        first, second = x.chunk(2, 1)
        x = torch.stack([first, second], 1).flatten(1, 2)
        rows = self.rnn(x.flatten(2).transpose(1, 2))[0][:, -1]
        pooled = F.adaptive_avg_pool2d(x.repeat(1, 2, 1, 1), 1).flatten(1)
        return self.head(torch.cat([rows, pooled / x.square().sum((1, 2, 3))[:, None].sqrt()], 1))


ALL_STAYS = {"aten::sigmoid", "aten::t"}
"""Rules without which nothing goes of the model that uses them."""

MODELS = {name: (example.build, example.inputs) for name, example in ZOO.items()} | {
    "attentive": (Attentive, lambda: (torch.randn(2, 3, 8, 8),)),
    "assorted": (Assorted, lambda: (torch.randn(2, 3, 8, 8),)),
}


@cache
def users() -> dict[str, str]:
    """Return for each rule a model in which it is used."""
    found: dict[str, str] = {}
    for name, (build, inputs) in MODELS.items():
        graph = record(build().eval(), ExampleInputs.of(inputs()), RULES.__contains__)
        found |= {node.name: name for node in graph if node.name in RULES}
    return found


def test_the_models_use_many_rules():
    assert len(users()) >= 45


def test_most_models_shrink_without_one_of_their_rules():
    assert users().keys() >= ALL_STAYS
    assert len(users()) - len(ALL_STAYS) >= 55


@pytest.mark.parametrize(("rule", "name"), sorted(users().items()))
def test_without_a_rule_nothing_is_silently_wrong(rule, name, monkeypatch):
    build, inputs = MODELS[name]
    given = inputs()
    torch.manual_seed(0)
    model = randomize(build()).eval()
    monkeypatch.delitem(RULES, rule)
    groups = couple(model, given).groups
    masked = zeroed(model, groups, half_of_every_group(groups), ["out in"] * len(groups))
    small = copy.deepcopy(masked)
    state, removed = copy.deepcopy(small.state_dict()), 0
    try:
        removed = compact(small, given, latency=False).removed
    except PruningError:
        assert all(torch.equal(t, state[key]) for key, t in small.state_dict().items())
    assert removed > 0 or rule in ALL_STAYS
    expected, found = (
        outputs(copy.deepcopy(m).double(), [x.double() for x in given]) for m in (masked, small)
    )
    assert relative_error(expected, found) <= TOLERANCE
