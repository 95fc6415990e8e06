"""What forward names may run, and nothing else."""

import pytest
import torch
from support import helping
from torch import Tensor, nn

from lightning_prune.compaction.rewriting.reach import Reach
from lightning_prune.runtime.attention import TensorSizedAttention


class Base(nn.Module):
    def shared(self, x: Tensor) -> Tensor:
        return self.below(x)

    def below(self, x: Tensor) -> Tensor:
        return x


def outside(net: nn.Module, x: Tensor) -> Tensor:
    return net.from_outside(x)


class Net(Base):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = outside(self, super().shared(self.layer(x)))
        rows = [self.in_a_list(row) for row in x]
        return getattr(self, "by_text")(helping.folded(torch.stack(rows), self.size))  # noqa: B009

    def in_a_list(self, x: Tensor) -> Tensor:
        return x

    def from_outside(self, x: Tensor) -> Tensor:
        return x

    def by_text(self, x: Tensor) -> Tensor:
        return x

    @property
    def size(self) -> int:
        return self.of_a_property()

    def of_a_property(self) -> int:
        return 4

    def revision(self) -> str:
        return self.of_nobody()

    def of_nobody(self) -> str:
        return ""

    def encode(self, x: Tensor) -> Tensor:
        return self.only_to_encode(x)

    def only_to_encode(self, x: Tensor) -> Tensor:
        return x


REACH = Reach(Net())
RUN = "forward shared below from_outside in_a_list by_text size of_a_property"


@pytest.mark.parametrize("name", RUN.split())
def test_what_forward_names_may_run(name):
    assert REACH.has(Net, name)


@pytest.mark.parametrize("name", ["revision", "of_nobody", "encode", "only_to_encode", "gone"])
def test_nothing_else_may(name):
    assert not REACH.has(Net, name)


@pytest.mark.parametrize("name", ["train", "to", "register_buffer", "__init__", "extra_repr"])
def test_what_every_module_can_do_is_not_run_by_forward(name):
    assert not REACH.has(nn.Linear, name)


def test_other_methods_may_be_called_from_outside():
    reach = Reach(Net(), ["encode"])
    assert reach.has(Net, "only_to_encode")
    assert not reach.has(Net, "by_text")


def test_layers_of_torch_and_ours_run_theirs():
    assert REACH.has(nn.Linear, "forward")
    assert REACH.has(TensorSizedAttention, "_heads")


def test_sources_are_those_of_the_methods_that_may_run():
    names = {source.function.__name__ for source in REACH.sources(Net)}
    assert names == set(RUN.split())


class Aliased(nn.Module):
    """Runs a method by the second of its two names, and keeps another in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.chosen = self.kept

    def own(self, x: Tensor) -> Tensor:
        return x

    alias = own

    def kept(self, x: Tensor) -> Tensor:
        return x

    def unused(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.chosen(self.alias(x))


def test_methods_of_another_name() -> None:
    reach = Reach(Aliased())
    assert [reach.has(Aliased, name) for name in ("own", "alias", "kept", "chosen", "unused")] == [
        *(True, True, True, False, False)
    ]
