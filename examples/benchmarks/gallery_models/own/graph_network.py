"""A network on graphs, whose messages are added up by their targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MessagePassing(nn.Module):
    """Every node sums messages along its edges, and adds what it makes of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.message = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU())
        self.update = nn.Linear(2 * width, width)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Map ``[nodes, width]`` to the same shape, along ``edges`` of shape ``[2, edges]``."""
        source, target = edges
        messages = self.message(torch.cat([nodes[source], nodes[target]], 1))
        received = torch.zeros_like(nodes).index_add_(0, target, messages)
        return nodes + F.relu(self.update(torch.cat([nodes, received], 1)))


class GraphNetwork(nn.Module):
    """Gilmer et al., 2017, "Neural Message Passing", arXiv:1704.01212: a number for each graph."""

    def __init__(self, features: int = 6, width: int = 32) -> None:
        super().__init__()
        self.enter = nn.Linear(features, width)
        self.layers = nn.ModuleList(MessagePassing(width) for _ in range(3))
        self.leave = nn.Linear(width, 1)

    def forward(self, nodes: Tensor, edges: Tensor, graph: Tensor) -> Tensor:
        """Map nodes, ``[nodes, features]``, to ``[graphs, 1]``; ``graph`` tells theirs."""
        x = self.enter(nodes)
        for layer in self.layers:
            x = layer(x, edges)
        pooled = x.new_zeros(int(graph[-1]) + 1, x.shape[1]).index_add_(0, graph, x)
        return self.leave(pooled)
