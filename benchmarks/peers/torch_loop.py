"""PyTorch task after task, as learn2learn does it: ``autograd.grad`` with ``create_graph``."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from problem import INNER_RATE, Problem

from peers import Peer
from peers.torch_conv4 import (
    Tensors,
    adam,
    first_gradient,
    logits,
    start,
    to_images,
    to_tensors,
)
from peers.torch_device import device_bytes, wait

__all__ = ["build", "device_bytes", "start"]

State = tuple[Tensors, torch.optim.Adam]


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """Images and kernels channels first or channels last in memory."""
    return {
        "channels_first": partial(looped, problem, torch.contiguous_format),
        "channels_last": partial(looped, problem, torch.channels_last),
    }


def looped(problem: Problem, layout: torch.memory_format) -> Peer:
    """Each task's query loss is backpropagated before the next task begins."""
    tasks = [
        tuple(part.contiguous(memory_format=layout) if part.dim() == 4 else part for part in task)
        for task in zip(*to_images(problem.episodes), strict=True)
    ]

    def loss(weights: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits(weights, x, "fused"), y)

    def step(state: State) -> tuple[State, torch.Tensor]:
        weights, optimiser = state
        optimiser.zero_grad()
        total = torch.zeros((), device=tasks[0][0].device)
        for support_x, support_y, query_x, query_y in tasks:
            adapted = weights
            for _ in range(problem.row.inner_steps):
                support_loss = loss(adapted, support_x, support_y)
                gradient = torch.autograd.grad(
                    support_loss, list(adapted.values()), create_graph=True
                )
                adapted = {
                    name: weight - INNER_RATE * part
                    for (name, weight), part in zip(adapted.items(), gradient, strict=True)
                }
            query_loss = loss(adapted, query_x, query_y) / len(tasks)
            query_loss.backward()
            total += query_loss.detach()
        optimiser.step()
        return state, total

    weights = to_tensors(problem.weights, layout)
    return Peer((weights, adam(weights)), step, wait, first_gradient, {})
