"""An oracle for coupling that shares no code with compaction: slice by hand and compare.

A unit is removable if the model without it computes what the model with a zeroed one computes, in
eval and in train mode. `assert_removable` asks that of random units of every group, zeroed on both
sides, on the reading side alone, and on the writing side alone where that is said to be enough.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lightning_prune.coupling import Coupling, couple
from lightning_prune.units.group import Group

TOLERANCE = 1e-10


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and statistic a value that is neither zero nor the default."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 1
            tensor.copy_(noise / fan_in**0.5)
        for tensor in model.buffers():
            if tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return model


def half_of_every_group(groups: Sequence[Group], seed: int = 0) -> list[Tensor]:
    """Mark a random half of the units of every group, at least one, never all."""
    generator = torch.Generator().manual_seed(seed)
    marked = []
    for group in groups:
        removed = torch.zeros(group.units, dtype=torch.bool)
        removed[torch.randperm(group.units, generator=generator)[: group.units // 2]] = True
        marked.append(removed)
    return marked


def zeroed(
    model: nn.Module, groups: Sequence[Group], removed: Sequence[Tensor], sides: Sequence[str]
) -> nn.Module:
    """Return a copy with the marked units zeroed on ``sides[g]``: ``"out"``, ``"in"`` or both."""
    model = copy.deepcopy(model)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for group, units, side in zip(groups, removed, sides, strict=True):
            for member in group.zeroed:
                if member.side in side:
                    positions = member.owned_by(units)
                    tensors[member.axis.tensor].index_fill_(member.axis.dim, positions, 0.0)
    return model


def halved(model: nn.Module, inputs: Sequence[Tensor], seed: int = 0) -> nn.Module:
    """Return a copy with random weights in which half of the units of every group are zero."""
    model = randomize(copy.deepcopy(model), seed)
    groups = couple(model, tuple(inputs)).groups
    return zeroed(model, groups, half_of_every_group(groups, seed), ["out in"] * len(groups))


def assert_equal(masked: nn.Module, small: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Assert that two models compute the same in float64, in eval and in train mode.

    They are compared on the inputs, and on random ones of one and of three examples.
    """
    masked, small = copy.deepcopy(masked).double(), copy.deepcopy(small).double()
    for training in (False, True):
        for batch in (None, 1, 3):
            given = [
                x.double() if batch is None else torch.randn(batch, *x.shape[1:]).double()
                for x in inputs
            ]
            expected, obtained = (outputs(m, given, training) for m in (masked, small))
            assert relative_error(expected, obtained) <= TOLERANCE, (training, batch)


def sliced(model: nn.Module, coupling: Coupling, removed: Sequence[Tensor]) -> nn.Module:
    """Return a copy without the marked units."""
    model = copy.deepcopy(model)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    gone: dict[tuple[str, int], set[int]] = {}
    for group, units in zip(coupling.groups, removed, strict=True):
        for member in group.members:
            axis = gone.setdefault((member.axis.tensor, member.axis.dim), set())
            axis.update(member.owned_by(units).tolist())
    for (name, dim), positions in gone.items():
        tensor = tensors[name]
        stay = [i for i in range(tensor.shape[dim]) if i not in positions]
        if name in coupling.grouped and dim == 0:
            module = model.get_submodule(name.rpartition(".")[0])
            count = "num_groups" if isinstance(module, nn.GroupNorm) else "groups"
            setattr(module, count, getattr(module, count) * len(stay) // tensor.shape[0])
        tensor.data = tensor.data[(slice(None),) * dim + (stay,)]
    _pad_norms(model, gone)
    _resize(model)
    return model


def _resize(model: nn.Module) -> None:
    """Bring the sizes at which modules look up to date."""
    for module in model.modules():
        if isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.affine:
            module.num_features = len(module.weight)  # it looks at its input's size
        if isinstance(module, nn.RNNBase):  # so does it
            module.input_size = module.weight_ih_l0.shape[1]
            module.hidden_size = module.weight_hh_l0.shape[1]
            if module.proj_size:
                module.proj_size, module.hidden_size = module.weight_hr_l0.shape
        if isinstance(module, nn.RNNCellBase):
            module.input_size, module.hidden_size = (
                module.weight_ih.shape[1],
                module.weight_hh.shape[1],
            )


class _PaddedNorm(nn.Module):
    """A norm that puts zeros where channels are gone, and normalises in the full width."""

    def __init__(self, norm: nn.LayerNorm | nn.RMSNorm | nn.GroupNorm, gone: set[int]) -> None:
        super().__init__()
        is_group_norm = isinstance(norm, nn.GroupNorm)
        width = norm.num_channels if is_group_norm else norm.normalized_shape[0]
        self.norm = norm
        self.dim = 1 if is_group_norm else -1
        self.stay = [i for i in range(width) if i not in gone]
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.dim, -1)
        wide = x.new_zeros(*x.shape[:-1], self.width)
        wide[..., self.stay] = x
        weight, bias = (
            None if v is None else torch.zeros(self.width).to(x).index_copy(0, self._stay(), v)
            for v in (self.norm.weight, getattr(self.norm, "bias", None))
        )
        if isinstance(self.norm, nn.GroupNorm):
            wide = wide.movedim(-1, 1)
            return F.group_norm(wide, 1, weight, bias, self.norm.eps)[:, self.stay]
        shape = [self.width]
        if isinstance(self.norm, nn.RMSNorm):
            return F.rms_norm(wide, shape, weight, self.norm.eps)[..., self.stay]
        return F.layer_norm(wide, shape, weight, bias, self.norm.eps)[..., self.stay]

    def _stay(self) -> Tensor:
        return torch.tensor(self.stay)


def _pad_norms(model: nn.Module, gone: dict[tuple[str, int], set[int]]) -> None:
    for name, module in list(model.named_modules()):
        is_trailing = isinstance(module, (nn.LayerNorm, nn.RMSNorm))
        is_one_group = isinstance(module, nn.GroupNorm) and module.num_groups == 1
        if (is_trailing or is_one_group) and (f"{name}.weight", 0) in gone:
            parent, _, leaf = name.rpartition(".")
            padded = _PaddedNorm(module, gone[f"{name}.weight", 0])
            setattr(model.get_submodule(parent), leaf, padded)


def outputs(model: nn.Module, inputs: Sequence[Tensor], training: bool = False) -> list[Tensor]:
    """Return what a copy of ``model`` computes; dropout is off in train mode, too."""
    model = copy.deepcopy(model).train(training)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad():
        result = model(*(x.clone() for x in inputs))
    return [t for t in tree_leaves(result) if isinstance(t, Tensor)]


def relative_error(expected: Sequence[Tensor], obtained: Sequence[Tensor]) -> float:
    assert [t.shape for t in expected] == [t.shape for t in obtained]
    errors = [
        float((a - b).abs().max() / a.abs().max().clamp_min(1e-300))
        for a, b in zip(map(_number, expected), map(_number, obtained), strict=True)
    ]
    return max(errors)


def _number(t: Tensor) -> Tensor:
    return t if t.is_floating_point() else t.double()


def assert_removable(model: nn.Module, inputs: Sequence[Tensor]) -> Coupling:
    """Assert that half of the units of every group can be removed; return the coupling."""
    model = randomize(copy.deepcopy(model).double())
    inputs = [x.double() if x.is_floating_point() else x for x in inputs]
    coupling = couple(model, tuple(inputs))
    removed = half_of_every_group(coupling.groups)
    small = sliced(model, coupling, removed)
    both = ["out in"] * len(removed)
    unwritten = ["out" if g.constant is None else "out in" for g in coupling.groups]
    unread = ["in" if _is_read(g) and g.exposed is None else "out in" for g in coupling.groups]
    for training in (False, True):
        found = outputs(small, inputs, training)
        for sides in (both, unwritten, unread):
            masked = zeroed(model, coupling.groups, removed, sides)
            expected = outputs(masked, inputs, training)
            assert relative_error(expected, found) <= TOLERANCE, (training, sides)
    return coupling


def _is_read(group: Group) -> bool:
    return any(member.side == "in" for member in group.parameters)


def ties(coupling: Coupling) -> dict[str, int]:
    """Return the groups as data: the parameters' axes in alphabetical order → units."""
    return {
        " ".join(sorted(str(member.axis) for member in group.parameters)): group.units
        for group in coupling.groups
    }


def reasons(coupling: Coupling, axis: str) -> str:
    """Return why ``axis`` is frozen, ``""`` if it is not."""
    return "; ".join(frozen.reason for frozen in coupling.frozen if str(frozen.axis) == axis)
