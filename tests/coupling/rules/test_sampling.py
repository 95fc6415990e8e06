"""Sampling at positions carries channels; patches and shuffles move them in blocks."""

import pytest
import torch
import torch.nn.functional as F
from support.nets import Between, Net, Whole
from torch import nn
from torchvision.ops import deform_conv2d, nms, ps_roi_align, ps_roi_pool, roi_align, roi_pool

BOXES = torch.tensor([[0, 0.0, 1.0, 4.0, 5.0], [1, 1.0, 0.0, 5.0, 3.0]])


def conv(channels: int):
    return lambda: nn.Conv2d(channels, 4, 1)


def conv1d(channels: int):
    return lambda: nn.Conv1d(channels, 4, 1)


def grid(x):
    theta = torch.tensor([[1.0, 0.2, 0.1], [0.1, 0.9, 0.0]]).to(x).expand(len(x), 2, 3)
    return F.affine_grid(theta, [len(x), 1, 5, 5], align_corners=False)


def shuffled(x):
    return x.view(2, 2, -1, 6, 6).transpose(1, 2).reshape(2, -1, 6, 6)


ROWS = {
    "grid_sample": Between(lambda x: F.grid_sample(x, grid(x), align_corners=False), 8),
    "grid_sample_nearest": Between(
        lambda x: F.grid_sample(x, grid(x), "nearest", "border", align_corners=True), 8
    ),
    "roi_align": Between(lambda x: roi_align(x, BOXES.to(x), 2), 8),
    "roi_pool": Between(lambda x: roi_pool(x, BOXES.to(x), 2), 8),
    "ps_roi_align": Between(lambda x: ps_roi_align(x, BOXES.to(x), 2), 2, second=conv(2)),
    "ps_roi_pool": Between(lambda x: ps_roi_pool(x, BOXES.to(x), 2), 2, second=conv(2)),
    "patches": Between(lambda x: F.unfold(x, 2), 8, second=conv1d(32)),
    "patches_without_a_batch": Between(lambda x: F.unfold(x[0], 2)[None], 8, second=conv1d(32)),
    "patches_folded": Between(lambda x: F.fold(F.unfold(x, 3, padding=1), 6, 3, padding=1), 8),
    "folded": Between(lambda x: F.fold(x.flatten(2), (7, 7), 2), 2, second=conv(2)),
    "pixel_shuffle": Between(lambda x: F.pixel_shuffle(x, 2), 2, second=conv(2)),
    "pixel_unshuffle": Between(lambda x: F.pixel_unshuffle(x, 2), 8, second=conv(32)),
    "channel_shuffle": Between(nn.ChannelShuffle(2), 4),
    "channel_shuffle_by_hand": Between(shuffled, 4),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_channels_are_carried(row):
    row.check()


def test_what_says_where_to_sample_stays():
    net = Net(
        lambda m, x: m.last(
            F.grid_sample(m.first(x), m.grid(x).permute(0, 2, 3, 1).tanh(), align_corners=False)
        ),
        first=nn.Conv2d(3, 8, 1),
        grid=nn.Conv2d(3, 2, 1),
        last=nn.Conv2d(8, 2, 1),
    )
    Whole(
        lambda: net,
        ((2, 3, 6, 6),),
        {"first.bias[0] first.weight[0] last.weight[1]": 8},
        {"grid.weight[0]": "says where to sample"},
    ).check()


def deformable(offset_groups, masked):
    kernel = 9 * offset_groups

    def forward(m, x):
        features = m.first(x)
        mask = m.mask(x).sigmoid() if masked else None
        return m.last(deform_conv2d(features, m.offset(x), m.w, m.b, padding=1, mask=mask))

    return lambda: Net(
        forward,
        first=nn.Conv2d(3, 8, 1),
        offset=nn.Conv2d(3, 2 * kernel, 1),
        mask=nn.Conv2d(3, kernel, 1),
        w=nn.Parameter(torch.randn(6, 8, 3, 3)),
        b=nn.Parameter(torch.randn(6)),
        last=nn.Conv2d(6, 2, 1),
    )


@pytest.mark.parametrize(("offset_groups", "units"), [(1, 8), (2, 4)])
@pytest.mark.parametrize("masked", [False, True])
def test_deformable_convolutions(offset_groups, units, masked):
    Whole(
        deformable(offset_groups, masked),
        ((2, 3, 6, 6),),
        {"first.bias[0] first.weight[0] w[1]": units, "b[0] last.weight[1] w[0]": 6},
        {"offset.weight[0]": "says where to sample"},
    ).check()


def test_choosing_boxes_freezes_nothing_else():
    def forward(m, x):
        features = m.first(x)
        boxes = m.boxes(features).mean((2, 3))
        kept = nms(boxes.abs().cumsum(1), boxes[:, 0], 0.5)
        return m.last(features)[kept]

    Whole(
        lambda: Net(
            forward, first=nn.Conv2d(3, 8, 1), boxes=nn.Conv2d(8, 4, 1), last=nn.Conv2d(8, 2, 1)
        ),
        ((2, 3, 6, 6),),
        {"boxes.weight[1] first.bias[0] first.weight[0] last.weight[1]": 8},
    ).check()
