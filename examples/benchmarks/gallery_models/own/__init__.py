"""Small networks in shapes that no package here has: written plainly, after the papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gallery_models.own.cifar_resnet import CifarResNet
from gallery_models.own.detector import Detector
from gallery_models.own.fast_speech import FastSpeech
from gallery_models.own.graph_network import GraphNetwork
from gallery_models.own.point_net import PointNet
from gallery_models.own.style_gan2 import StyleGan2
from gallery_models.own.wave_rnn import WaveRnn

Made = tuple[nn.Module, Any]


def _fast_speech(library: Any) -> Made:
    phonemes, frames = torch.randint(40, (2, 9)), torch.randint(1, 4, (2, 9))
    return FastSpeech(), (phonemes, frames)


def _graph(library: Any) -> Made:
    edges = torch.cat([torch.randint(7, (2, 20)), torch.randint(7, 12, (2, 20))], 1)
    graph = torch.arange(12) // 7
    return GraphNetwork(), (torch.randn(12, 6), edges, graph)


NETS: dict[str, Callable[[Any], Made]] = {
    "CIFAR ResNet": lambda library: (CifarResNet(), torch.randn(2, 3, 32, 32)),
    "StyleGAN 2": lambda library: (StyleGan2(), torch.randn(2, 16)),
    "WaveRNN": lambda library: (WaveRnn(), (torch.randn(2, 12), torch.randn(2, 12, 8))),
    "FastSpeech": _fast_speech,
    "PointNet": lambda library: (PointNet(), torch.randn(2, 3, 40)),
    "graph network": _graph,
    "YOLO": lambda library: (Detector(), torch.randn(1, 3, 64, 64)),
}
"""What returns a network with its inputs, by name."""
