"""DANN and CDAN in PyTorch, one operation after the other; Adam fused."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from adversarial_problem import FIRST_MOMENT_DECAY, RATE, STRENGTH, Problem, Row

from peers import Peer
from peers.torch_device import device, device_bytes, wait

__all__ = ["build", "device_bytes", "start"]


def start(row: Row, threads: int) -> str:
    """Sets PyTorch's threads; on a GPU lets it use TF32 as JAX does by default."""
    del row
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    return "gpu" if torch.zeros((), device=device()).is_cuda else "cpu"


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """Images and kernels channels first or channels last in memory."""
    return {
        "channels_first": partial(eager, problem, torch.contiguous_format),
        "channels_last": partial(eager, problem, torch.channels_last),
    }


class Reverse(torch.autograd.Function):
    """Gradient reversal as it is commonly written."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """The same."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Turned."""
        return -STRENGTH * gradient


def eager(problem: Problem, layout: torch.memory_format) -> Peer:
    """The weights are jaxfer's; dense ones keep jaxfer's order of axes."""
    row = problem.row
    weights, fixed = {}, {}
    for name, value in problem.weights.items():
        found = torch.tensor(value, device=device())
        if found.dim() == 4:  # [h, w, in, out]
            found = found.permute(3, 2, 0, 1).contiguous(memory_format=layout)
        (fixed if name.startswith("random") else weights)[name] = found
    for weight in weights.values():
        weight.requires_grad_()
    optimiser = torch.optim.Adam(
        weights.values(), lr=RATE, betas=(FIRST_MOMENT_DECAY, 0.999), fused=True
    )
    images = torch.tensor(
        np.concatenate([problem.source, problem.target]).transpose(0, 3, 1, 2), device=device()
    ).contiguous(memory_format=layout)
    labels = torch.tensor(problem.labels, device=device())

    def features_of(x: torch.Tensor) -> torch.Tensor:
        for layer in ("conv0", "conv1"):
            x = F.conv2d(
                x, weights[f"encoder/{layer}/kernel"], weights[f"encoder/{layer}/bias"]
            )  # fmt: skip
            x = F.relu(F.max_pool2d(x, 2))
        x = x.permute(0, 2, 3, 1).flatten(1)
        return F.relu(x @ weights["encoder/linear/kernel"] + weights["encoder/linear/bias"])

    def critic(x: torch.Tensor) -> torch.Tensor:
        layers = len(row.hidden) + 1
        for layer in range(layers):
            x = x @ weights[f"adversary/{layer}/weight"] + weights[f"adversary/{layer}/bias"]
            x = F.relu(x) if layer < layers - 1 else x
        return x[:, 0]

    def conditioned(features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        features = Reverse.apply(features)
        if row.method == "dann":
            return features
        p = logits.detach().softmax(1)
        if row.method == "cdan":
            return (features[:, :, None] * p[:, None, :]).flatten(1)
        product = (features @ fixed["random_features"]) * (p @ fixed["random_classes"])
        return product / row.random**0.5

    def step(state: Any) -> tuple[Any, torch.Tensor]:
        optimiser.zero_grad()
        features = features_of(images)
        logits = features @ weights["head/weight"] + weights["head/bias"]
        loss = F.cross_entropy(logits[: row.batch], labels)
        domains = critic(conditioned(features, logits))
        source, target = domains[: row.batch], domains[row.batch :]
        loss = loss + 0.5 * (F.softplus(-source).mean() + F.softplus(target).mean())
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
