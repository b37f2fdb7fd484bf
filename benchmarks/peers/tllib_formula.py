"""The formula of tllib's ``MultipleKernelMaximumMeanDiscrepancy`` and ``GaussianKernel``.

All differences of the pooled sample, ``[n + m, n + m, d]``, once for each kernel, in PyTorch. tllib
weights the kernel matrix for the unbiased estimate of samples of equal size ``B`` and adds
``2 / (B - 1)``. Here it is weighted for the biased one, so that all compute the same number; the
arithmetic is the same.
"""

from collections.abc import Callable
from functools import partial

import torch
from mmd_problem import SCALES, Size

from peers import Peer
from peers.torch_device import device, device_bytes
from peers.torch_matrices import differentiated, start

__all__ = ["build", "device_bytes", "start"]


def build(size: Size) -> dict[str, Callable[[], Peer]]:
    """One way of writing it; the weights of the kernel matrix are kept, as tllib keeps them."""

    def differences() -> Peer:
        n, m, _ = size
        weights = torch.cat([torch.full((n,), 1 / n), torch.full((m,), -1 / m)]).to(device())
        return differentiated(partial(tllib_mmd, torch.outer(weights, weights)), size)

    return {"differences": differences}


def tllib_mmd(weights: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The formula."""
    features = torch.cat([x, y], dim=0)
    return (sum(gaussian(features, a) for a in SCALES) * weights).sum()


def gaussian(features: torch.Tensor, alpha: float) -> torch.Tensor:
    """One kernel's matrix."""
    squares = ((features.unsqueeze(0) - features.unsqueeze(1)) ** 2).sum(2)
    return torch.exp(-squares / (2 * alpha * squares.detach().mean()))
