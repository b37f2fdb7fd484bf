"""What both PyTorch peers share: Conv4 as a function of its weights, and how to get them there.

JAX pads an even image at its far side, PyTorch at its near side. Images and kernels are mirrored,
so that ``padding=1`` computes the same function without a padding operation of its own.
"""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from problem import BLOCKS, EPSILON, FIRST_MOMENT_DECAY, OUTER_RATE, Episodes, Row, Weights

from peers.torch_device import device

Norm = Literal["fused", "plain"]
Tensors = dict[str, torch.Tensor]


def start(row: Row, threads: int) -> str:
    """Sets PyTorch's threads; on a GPU lets it use TF32 as JAX does by default."""
    del row
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    return "gpu" if torch.zeros((), device=device()).is_cuda else "cpu"


def logits(weights: Tensors, x: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Conv4 with strides, batch statistics and the mean over space, ``x`` ``[n, 1, h, w]``."""
    for i in range(BLOCKS):
        x = F.conv2d(x, weights[f"conv{i}"], stride=2, padding=1)
        scale, shift = weights[f"scale{i}"], weights[f"shift{i}"]
        if norm == "fused":
            x = F.batch_norm(x, None, None, scale, shift, training=True, eps=EPSILON)
        else:
            variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
            gain = torch.rsqrt(variance + EPSILON) * scale.view(1, -1, 1, 1)
            x = (x - mean) * gain + shift.view(1, -1, 1, 1)
        x = F.relu(x)
    return x.mean((2, 3)) @ weights["head"] + weights["bias"]


def to_tensors(weights: Weights, layout: torch.memory_format) -> Tensors:
    """The weights on the device, kernels ``[out, in, 3, 3]``, as leaves that want a gradient."""

    def convert(name: str, value: np.ndarray) -> torch.Tensor:
        if not name.startswith("conv"):
            return torch.tensor(value, device=device())
        mirrored = value[::-1, ::-1].transpose(3, 2, 0, 1).copy()
        return torch.tensor(mirrored, device=device()).contiguous(memory_format=layout)

    return {name: convert(name, value).requires_grad_() for name, value in weights.items()}


def to_images(episodes: Episodes) -> tuple[torch.Tensor, ...]:
    """Images ``[tasks, n, 1, h, w]`` and labels ``[tasks, n]`` of support and query."""

    def mirrored(x: np.ndarray) -> torch.Tensor:
        return torch.tensor(x[:, :, ::-1, ::-1].transpose(0, 1, 4, 2, 3).copy(), device=device())

    def labels(y: np.ndarray) -> torch.Tensor:
        return torch.tensor(y.astype(np.int64), device=device())

    support_x, support_y, query_x, query_y = episodes
    return mirrored(support_x), labels(support_y), mirrored(query_x), labels(query_y)


def adam(weights: Tensors) -> torch.optim.Adam:
    """Adam on the weights, in one operation for all of them."""
    decay = (FIRST_MOMENT_DECAY, 0.999)
    return torch.optim.Adam(weights.values(), lr=OUTER_RATE, betas=decay, fused=True)


def first_gradient(state: tuple[Tensors, torch.optim.Adam]) -> Weights:
    """The meta-gradient of the first step, kernels mirrored back to ``[3, 3, in, out]``."""
    weights, optimiser = state
    gradient = {}
    for name, weight in weights.items():
        value = optimiser.state[weight]["exp_avg"].cpu().numpy() / (1 - FIRST_MOMENT_DECAY)
        if name.startswith("conv"):
            value = value.transpose(2, 3, 1, 0)[::-1, ::-1]
        gradient[name] = value
    return gradient
