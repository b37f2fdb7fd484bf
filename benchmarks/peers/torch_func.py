"""PyTorch's function transforms: ``vmap`` over the tasks of ``grad`` of ``grad``."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from problem import INNER_RATE, Problem
from torch.func import grad, grad_and_value, vmap

from peers import Peer
from peers.torch_conv4 import (
    Norm,
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
    """The batch normalisation written out; the fused one is wrong in second derivatives here.

    With torch 2.13 the meta-gradient through it is 14% off that of the other peers.
    """
    return {"plain": partial(vmapped, problem, "plain")}


def vmapped(problem: Problem, norm: Norm) -> Peer:
    """All tasks at once."""
    episodes = to_images(problem.episodes)

    def loss(weights: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits(weights, x, norm), y)

    def query_loss(weights: Tensors, *episode: torch.Tensor) -> torch.Tensor:
        support_x, support_y, query_x, query_y = episode
        for _ in range(problem.row.inner_steps):
            gradient = grad(loss)(weights, support_x, support_y)
            weights = {k: w - INNER_RATE * gradient[k] for k, w in weights.items()}
        return loss(weights, query_x, query_y)

    def meta_loss(weights: Tensors) -> torch.Tensor:
        return vmap(query_loss, in_dims=(None, 0, 0, 0, 0))(weights, *episodes).mean()

    def step(state: State) -> tuple[State, torch.Tensor]:
        weights, optimiser = state
        detached = {name: weight.detach() for name, weight in weights.items()}
        gradient, value = grad_and_value(meta_loss)(detached)
        for name, weight in weights.items():
            weight.grad = gradient[name]
        optimiser.step()
        return state, value

    weights = to_tensors(problem.weights, torch.contiguous_format)
    return Peer((weights, adam(weights)), step, wait, first_gradient, {})
