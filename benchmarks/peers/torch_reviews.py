"""What the PyTorch peers of ``uda_amazon`` share: first layers, the objective, the protocol."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from amazon_problem import Problem, Row, results

from peers import Peer
from peers.torch_device import device, wait

Params = list[torch.Tensor]
PARAMS = ("bias", "head", "head_bias", "critic", "critic_bias")


def start(row: Row, threads: int) -> str:
    """Sets PyTorch's threads."""
    del row
    torch.set_num_threads(threads)
    return "gpu" if torch.zeros((), device=device()).is_cuda else "cpu"


class Layer(NamedTuple):
    """A first layer of one seed, whatever it keeps of the examples.

    Attributes:
      cut: places ``[batches, b]`` of examples to what ``inputs`` takes, one for each batch.
      weight: where it begins, ``[.., hidden]``.
      inputs: ``(weight, batch) -> [b, hidden]``, linear in the weight.
      spanned: whether the weight has a row for each example, of which a step changes those of its
        batch by the gradient of their inputs; otherwise a step follows the weight's gradient.
    """

    cut: Callable[[np.ndarray], list[Any]]
    weight: torch.Tensor
    inputs: Callable[[torch.Tensor, Any], torch.Tensor]
    spanned: bool = False


def tensor(array: np.ndarray) -> torch.Tensor:
    """On the device."""
    return torch.tensor(array, device=device())


def dense(problem: Problem, seed: int, networks: int) -> Layer:
    """A product with the whole rows of a batch."""
    x = tensor(problem.x)
    return Layer(
        lambda order: [tensor(places) for places in order],
        tensor(np.tile(problem.weights[seed], networks)),
        lambda weight, places: x[places] @ weight,
    )


def bag(problem: Problem, seed: int, networks: int, *, sparse: bool = False) -> Layer:
    """``F.embedding_bag``: sums over the words of a review; with a dense or a sparse gradient."""
    rows, words = np.nonzero(problem.x)
    values = problem.x[rows, words]
    sizes = np.bincount(rows, minlength=len(problem.x))
    starts = np.cumsum(sizes) - sizes

    def cut(order: np.ndarray) -> list[Any]:
        batches = []
        for places in order:
            offsets = np.cumsum(sizes[places]) - sizes[places]
            total = sizes[places].sum()
            taken = np.arange(total) + np.repeat(starts[places] - offsets, sizes[places])
            batches.append([tensor(part) for part in (words[taken], offsets, values[taken])])
        return batches

    def inputs(weight: torch.Tensor, batch: Any) -> torch.Tensor:
        words, offsets, values = batch
        return F.embedding_bag(
            words, weight, offsets, mode="sum", per_sample_weights=values, sparse=sparse
        )

    return Layer(cut, tensor(np.tile(problem.weights[seed], networks)), inputs)


def span(problem: Problem, seed: int, networks: int) -> Layer:
    """The algebra of jaxfer: coefficients of the examples, and products between examples."""
    x = tensor(problem.x)
    products, begun = x @ x.T, (x @ tensor(problem.weights[seed])).repeat(1, networks)
    return Layer(
        lambda order: [tensor(places) for places in order],
        torch.zeros(begun.shape, device=device()),
        lambda weight, places: begun[places] + products[places] @ weight,
        spanned=True,
    )


def objective(
    inputs: torch.Tensor, params: Params, labels: torch.Tensor, strengths: torch.Tensor
) -> torch.Tensor:
    """The sum over networks of the source's cross-entropy and the reversed critic's.

    Of several networks: ``inputs`` ``[2 b, networks, hidden]``, ``params`` ``[networks, ...]``,
    ``labels`` ``[b, networks]``, ``strengths`` ``[networks]``; of one without that axis.
    """
    bias, head, head_bias, critic, critic_bias = params
    count = len(labels)
    features = torch.sigmoid(inputs + bias)
    scale = 2 * strengths[..., None]
    turned = (1 + scale) * features.detach() - scale * features
    if features.dim() == 2:
        loss = F.cross_entropy(features[:count] @ head + head_bias, labels)
        domains = turned @ critic + critic_bias
    else:
        logits = torch.bmm(features[:count].transpose(0, 1), head) + head_bias[:, None]
        loss = F.cross_entropy(logits.flatten(0, 1), labels.T.flatten()) * len(head)
        domains = (torch.bmm(turned.transpose(0, 1), critic) + critic_bias[:, None])[..., 0].T
    wrong = F.softplus(-domains[:count]).mean(0) + F.softplus(domains[count:]).mean(0)
    return loss + 0.5 * wrong.sum()


def logits_of(inputs: torch.Tensor, params: Params) -> torch.Tensor:
    """``[b, networks, 2]``, or ``[b, 2]`` of one network."""
    features = torch.sigmoid(inputs + params[0])
    if features.dim() == 2:
        return features @ params[1] + params[2]
    return (torch.bmm(features.transpose(0, 1), params[1]) + params[2][:, None]).transpose(0, 1)


class Work(NamedTuple):
    """A seed's batches, made once for all of its networks.

    Attributes:
      steps: of each pass, batches with the places of their labelled halves.
      held_out: batch and places of each domain's held-out part.
      target: batch of the whole target.
    """

    steps: list[list[tuple[Any, torch.Tensor]]]
    held_out: list[tuple[Any, torch.Tensor]]
    target: Any


def work_of(problem: Problem, seed: int, layer: Layer) -> Work:
    """Cuts everything that a seed will see."""
    row = problem.row

    def labelled(order: np.ndarray) -> list[torch.Tensor]:
        return [tensor(places[: row.batch]) for places in order]

    steps = [
        list(zip(layer.cut(order[seed]), labelled(order[seed]), strict=True))
        for order in problem.orders
    ]
    held_out = [(layer.cut(side[seed][None])[0], tensor(side[seed])) for side in problem.held_out]
    (target,) = layer.cut(np.arange(row.examples, 2 * row.examples)[None])
    return Work(steps, held_out, target)


class Trained(NamedTuple):
    """Networks where their held-out risk was lowest, and that risk."""

    weight: torch.Tensor
    params: Params
    risk: torch.Tensor


def fit(
    layer: Layer,
    begin: Trained,
    strengths: torch.Tensor,
    steps: list[list[tuple[Any, torch.Tensor]]],
    held_out: tuple[Any, torch.Tensor],
    labels: torch.Tensor,
    rate: float,
) -> Trained:
    """Gradient descent on networks side by side, ``strengths`` ``[networks]``, or one, ``[]``."""
    networks = tuple(strengths.shape)
    weight, params = begin.weight.clone(), [param.clone() for param in begin.params]
    best = Trained(weight.clone(), params, torch.full(networks, torch.inf, device=device()))

    def inputs(batch: Any) -> torch.Tensor:
        return layer.inputs(weight, batch)

    def apart(inputs: torch.Tensor) -> torch.Tensor:
        return inputs.unflatten(1, (*networks, -1)) if networks else inputs

    for batches in steps:
        for batch, labelled in batches:
            for param in params:
                param.requires_grad_()
            if layer.spanned:
                with torch.no_grad():
                    by = inputs(batch)
                by.requires_grad_()
                found = by
            else:
                by = weight.requires_grad_()
                found = inputs(batch)
            loss = objective(apart(found), params, labels[labelled], strengths)
            gradient, *others = torch.autograd.grad(loss, [by, *params])
            with torch.no_grad():
                if layer.spanned:
                    weight.index_add_(0, batch, gradient, alpha=-rate)
                else:
                    weight.add_(gradient, alpha=-rate)
                torch._foreach_add_(params, others, alpha=-rate)
        with torch.no_grad():
            logits = logits_of(apart(inputs(held_out[0])), params)
            truth = labels[held_out[1]]
            risk = F.cross_entropy(logits.movedim(-1, 1), truth, reduction="none").mean(0)
            better = risk < best.risk
            best = Trained(
                torch.where(better.repeat_interleave(params[0].shape[-1]), weight, best.weight),
                [
                    torch.where(better.view(*networks, *[1] * (p.dim() - len(networks))), p, old)
                    for p, old in zip(params, best.params, strict=True)
                ],
                torch.minimum(risk, best.risk),
            )
    return best


def both_ways(
    problem: Problem, seed: int, layer: Layer, work: Work, strengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The risks of the forward and the reverse networks."""
    row = problem.row
    networks = tuple(strengths.shape)
    params = [
        tensor(problem.params[name][seed]).expand(*networks, *problem.params[name][seed].shape)
        for name in PARAMS
    ]
    ys = tensor(problem.labels.astype(np.int64))
    ys = ys.view(-1, *[1] * len(networks)).expand(-1, *networks)
    nothing = torch.zeros((), device=device())
    begin = Trained(layer.weight.detach(), params, nothing)
    forward = fit(
        layer, begin, strengths, work.steps[: row.passes], work.held_out[0], ys, row.rate
    )  # fmt: skip
    with torch.no_grad():
        hidden = layer.inputs(forward.weight, work.target)
        hidden = hidden.unflatten(1, (*networks, -1)) if networks else hidden
        labels = torch.cat([ys, logits_of(hidden, forward.params).argmax(-1)])
    back = fit(
        layer, forward, strengths, work.steps[row.passes :], work.held_out[1], labels, row.rate
    )  # fmt: skip
    with torch.no_grad():
        hidden = layer.inputs(back.weight, work.held_out[0][0])
        hidden = hidden.unflatten(1, (*networks, -1)) if networks else hidden
        logits_of(hidden, back.params).argmax(-1).eq(labels[work.held_out[0][1]]).float().mean(0)
    return forward.risk, back.risk


def peer_of(
    problem: Problem, make: Callable[[Problem, int, int], Layer], *, together: bool
) -> Peer:
    """A peer whose step is the whole protocol, a seed after the other.

    ``together`` trains all strengths of a seed as one wider network.
    """
    strengths = tensor(problem.row.lambdas)

    def one_seed(seed: int) -> list[np.ndarray]:
        layer = make(problem, seed, len(strengths) if together else 1)
        work = work_of(problem, seed, layer)
        if together:
            risks = both_ways(problem, seed, layer, work, strengths)
        else:
            each = [both_ways(problem, seed, layer, work, strength) for strength in strengths]
            risks = tuple(torch.stack(parts) for parts in zip(*each, strict=True))
        return [risk.cpu().numpy() for risk in risks]

    def step(_: Any) -> tuple[Any, float]:
        seeds = map(one_seed, range(problem.row.seeds))
        risks = [np.stack(part) for part in zip(*seeds, strict=True)]
        return risks, float(risks[0].mean())

    return Peer(None, step, wait, lambda state: results(*state), {})
