"""The same networks in PyTorch, one operation after the other; AdamW fused."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from finetune_problem import FIRST_MOMENT_DECAY, RATE, Problem, Row

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
    """Images in both orders in memory; of texts there is one."""
    if problem.row.network == "minilm":
        return {"eager": partial(eager, problem, torch.contiguous_format)}
    return {
        "channels_first": partial(eager, problem, torch.contiguous_format),
        "channels_last": partial(eager, problem, torch.channels_last),
    }


class Weights:
    """jaxfer's weights by name; products take dense ones as PyTorch does, outputs first."""

    def __init__(self, problem: Problem, layout: torch.memory_format) -> None:
        self.tensors = {}
        for name, value in problem.weights.items():
            found = torch.tensor(value, device=device())
            if found.dim() == 4:  # [h, w, in, out]
                found = found.permute(3, 2, 0, 1).contiguous(memory_format=layout)
            elif name.endswith("kernel") or "low_rank" in name:
                found = found.T.contiguous()
            self.tensors[name] = found.requires_grad_(name in problem.trained)
        self.trained = {name: self.tensors[name] for name in problem.trained}
        self.scale = 1.0  # of the factors: alpha over rank

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """A dense layer, with factors of low rank where there are any."""
        y = F.linear(x, self[f"{name}/kernel"], self[f"{name}/bias"])
        if f"{name}/low_rank/down" in self.tensors:
            thin = F.linear(x, self[f"{name}/low_rank/down"])
            y = y + self.scale * F.linear(thin, self[f"{name}/low_rank/up"])
        return y

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Of the last axis."""
        return F.layer_norm(
            x, x.shape[-1:], self[f"{name}/scale"], self[f"{name}/bias"], eps=1e-12
        )  # fmt: skip


def text_features(
    row: Row, weights: Weights, ids: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """BERT's blocks, then the mean of the tokens."""
    n, length = ids.shape
    x = F.embedding(ids, weights["encoder/words/table"])
    x = x + weights["encoder/positions/table"][:length] + weights["encoder/segments/table"][0]
    x = weights.norm("encoder/norm", x)
    for layer in range(row.layers):
        block = f"encoder/block{layer}"
        query, key, value = (
            weights.linear(f"{block}/attention/{name}", x).view(n, length, row.heads, -1)
            .transpose(1, 2)
            for name in ("query", "key", "value")
        )  # fmt: skip
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        mixed = mixed.transpose(1, 2).reshape(n, length, -1)
        x = weights.norm(
            f"{block}/attention_norm", x + weights.linear(f"{block}/attention/output", mixed)
        )
        hidden = F.gelu(weights.linear(f"{block}/up", x))
        x = weights.norm(f"{block}/output_norm", x + weights.linear(f"{block}/down", hidden))
    present = mask[..., None].to(x.dtype)
    return (x * present).sum(1) / present.sum(1)


def image_features(
    row: Row, weights: Weights, statistics: dict[str, torch.Tensor], x: torch.Tensor, train: bool
) -> torch.Tensor:
    """A ResNet's, of two convolutions a block."""

    def convolved(x: torch.Tensor, where: str, conv: str, stride: int) -> torch.Tensor:
        kernel = weights[f"{where}{conv}/kernel"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        norm = conv.replace("conv", "norm") if "conv" in conv else f"{conv}_norm"
        mean, variance = (
            statistics.setdefault(f"{where}{norm}/{kind}", one.to(device()))
            for kind, one in (("mean", torch.zeros(x.shape[1])), ("var", torch.ones(x.shape[1])))
        )
        return F.batch_norm(
            x, mean, variance, weights[f"{where}{norm}/scale"], weights[f"{where}{norm}/bias"],
            training=train,
        )  # fmt: skip

    x = F.max_pool2d(F.relu(convolved(x, "encoder/", "conv", 2)), 3, 2, 1)
    for stage in range(4):
        for i in range(row.blocks):
            block = f"encoder/stage{stage}_block{i}/"
            stride = 2 if stage and not i else 1
            y = F.relu(convolved(x, block, "conv0", stride))
            y = convolved(y, block, "conv1", 1)
            if f"{block}shortcut/kernel" in weights.tensors:
                x = convolved(x, block, "shortcut", stride)
            x = F.relu(y + x)
    return x.mean((2, 3))


def eager(problem: Problem, layout: torch.memory_format) -> Peer:
    """A step as it is commonly written."""
    row = problem.row
    weights = Weights(problem, layout)
    optimiser = torch.optim.AdamW(
        weights.trained.values(), lr=RATE, betas=(FIRST_MOMENT_DECAY, 0.999), weight_decay=1e-4,
        fused=True,
    )  # fmt: skip
    labels = torch.tensor(problem.labels, device=device())
    statistics: dict[str, torch.Tensor] = {}
    if problem.mask is None:
        images = torch.tensor(problem.x.transpose(0, 3, 1, 2), device=device())
        images = images.contiguous(memory_format=layout)
    else:
        ids, mask = (torch.tensor(part, device=device()) for part in (problem.x, problem.mask))

    def features() -> torch.Tensor:
        if problem.mask is None:
            return image_features(row, weights, statistics, images, row.tuning == "full")
        return text_features(row, weights, ids, mask)

    def step(state: Any) -> tuple[Any, torch.Tensor]:
        optimiser.zero_grad()
        with torch.set_grad_enabled(row.tuning != "probe"):
            x = features()
        loss = F.cross_entropy(weights.linear("head", x), labels)
        loss.backward()
        optimiser.step()
        return state, loss.detach()

    def first_gradient(_: Any) -> dict[str, np.ndarray]:
        found = {}
        for name, weight in weights.trained.items():
            value = optimiser.state[weight]["exp_avg"].cpu().numpy() / (1 - FIRST_MOMENT_DECAY)
            if value.ndim == 4:
                value = value.transpose(2, 3, 1, 0)
            elif name.endswith("kernel") or "low_rank" in name:
                value = value.T
            found[name] = value
        return found

    return Peer(None, step, wait, first_gradient, {})
