"""Random gradients, at which several accumulators look."""

import torch
from torch import nn

SHAPES = [(5, 3, 2), (7,), (4, 6)]


def random_steps(accumulators):
    """Let accumulators look at the same four steps, one of them not finite, one in part."""
    torch.manual_seed(0)
    made = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    made_accumulators = [make(made) for make in accumulators]
    for step in range(4):
        for weight in made:
            weight.grad = torch.randn_like(weight)
        if step == 1:
            made[2].grad[3, 5] = torch.nan
        if step == 2:
            made[1].grad = None
        for accumulator in made_accumulators:
            accumulator.add(made[:2] if step == 3 else None, grad_scale=4.0)
    return made_accumulators
