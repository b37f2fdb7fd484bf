"""What the PyTorch peers of MMD share: the formula with three kernel matrices, and its gradient."""

from collections.abc import Callable

import torch
from mmd_problem import SCALES, Size, samples

from peers import Peer
from peers.fixed_samples import peer_of
from peers.torch_device import device, wait

Formula = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def start(row: Size, threads: int) -> str:
    """Sets PyTorch's threads; products stay in full float32, as jaxfer's."""
    del row
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    return "gpu" if torch.zeros((), device=device()).is_cuda else "cpu"


def differentiated(formula: Formula, size: Size) -> Peer:
    """Value and gradient of a function of both samples."""
    source, target = (
        torch.from_numpy(sample).to(device()).requires_grad_() for sample in samples(size)
    )

    def call() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        value = formula(source, target)
        gradients = torch.autograd.grad(value, (source, target))
        wait(gradients)
        return value.detach(), gradients

    return peer_of(call, lambda gradient: gradient.cpu().numpy())


def dense_mmd(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The formula."""
    xx, yy, xy = squared_distances(x, x), squared_distances(y, y), squared_distances(x, y)
    mean = (xx.sum() + yy.sum() + 2 * xy.sum()).detach() / (len(x) + len(y)) ** 2

    def kernel(squares: torch.Tensor) -> torch.Tensor:
        return sum(torch.exp(-squares / (2 * a * mean)) for a in SCALES)

    return kernel(xx).mean() + kernel(yy).mean() - 2 * kernel(xy).mean()


def squared_distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``[n, m]``, by a matrix product."""
    return ((x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2 * x @ y.T).clamp_min(0)
