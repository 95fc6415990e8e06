"""Prune half of a ResNet-18, remove what was pruned, and measure what that saves.

    python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/python examples/minimal.py

No data, no training and no Trainer: ten seconds on one core, after the installation. A network of
yours would be trained before and after; `lp.Pruning` prunes it while a Trainer trains it.
"""

import torch
import torchvision

import lightning_prune as lp

torch.manual_seed(0)
model = torchvision.models.resnet18(weights=None)
x = torch.randn(8, 3, 96, 96)

print(lp.couple(model, x))  # which channels can only go together, and what must stay

print(lp.prune(model, x, sparsity=0.5, criterion=lp.Magnitude(), allocation=lp.Uniform()))
expected = model.eval()(x)  # by now half of the parameters are zero, and nothing is faster

report = lp.compact(model, x)  # removes them, and proves that the model computes the same
print(report)

torch.testing.assert_close(model(x), expected, atol=1e-4, rtol=1e-4)
lp.save_compact(model, "small.safetensors", report=report)
small = lp.load_compact(torchvision.models.resnet18(weights=None), "small.safetensors")
assert torch.equal(small.eval()(x), model(x))
