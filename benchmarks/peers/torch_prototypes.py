"""Prototypical networks in PyTorch, one operation after the other; Adam fused."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from few_shot_problem import BLOCKS, FIRST_MOMENT_DECAY, RATE, Problem

from peers import Peer
from peers.torch_adversarial import start
from peers.torch_device import device, device_bytes, wait

__all__ = ["build", "device_bytes", "start"]


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """Images and kernels channels first or channels last in memory."""
    return {
        "channels_first": partial(eager, problem, torch.contiguous_format),
        "channels_last": partial(eager, problem, torch.channels_last),
    }


def eager(problem: Problem, layout: torch.memory_format) -> Peer:
    """The weights are jaxfer's."""
    row = problem.row
    weights = {}
    for name, value in problem.weights.items():
        found = torch.tensor(value, device=device())
        if found.dim() == 4:  # [h, w, in, out]
            found = found.permute(3, 2, 0, 1).contiguous(memory_format=layout)
        weights[name] = found.requires_grad_()
    optimiser = torch.optim.Adam(
        weights.values(), lr=RATE, betas=(FIRST_MOMENT_DECAY, 0.999), fused=True
    )
    images = torch.tensor(problem.x.transpose(0, 3, 1, 2), device=device())
    images = images.contiguous(memory_format=layout)
    labels = torch.tensor(problem.y, device=device())
    running = [
        (torch.zeros(row.width, device=device()), torch.ones(row.width, device=device()))
        for _ in range(BLOCKS)
    ]

    def step(state: Any) -> tuple[Any, torch.Tensor]:
        optimiser.zero_grad()
        x = images
        for i, (mean, variance) in enumerate(running):
            x = F.conv2d(x, weights[f"block{i}/conv/kernel"], padding=1)
            x = F.batch_norm(
                x, mean, variance, weights[f"block{i}/norm/scale"],
                weights[f"block{i}/norm/bias"], training=True, momentum=0.1,
            )  # fmt: skip
            x = F.max_pool2d(F.relu(x), 2)
        features = x.permute(0, 2, 3, 1).flatten(1)
        shown = row.way * row.shot
        prototypes = features[:shown].reshape(row.way, row.shot, -1).mean(1)
        asked = features[shown:]
        distances = torch.cdist(asked, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
        loss = F.cross_entropy(-distances.square(), labels)
        loss.backward()
        optimiser.step()
        return state, loss.detach()

    def first_gradient(_: Any) -> dict[str, np.ndarray]:
        found = {}
        for name, weight in weights.items():
            value = optimiser.state[weight]["exp_avg"].cpu().numpy() / (1 - FIRST_MOMENT_DECAY)
            found[name] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
        return found

    return Peer(None, step, wait, first_gradient, {})
