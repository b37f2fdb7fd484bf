"""Makes the golden files beside it, from random small networks of PyTorch's transformers.

    python tests/models/golden/make_golden.py

Needs torch and transformers, which the tests do not; written with torch 2.13 and transformers 5.24.
Each file holds, in float32,

    weights.NAME    the network's weights, under their own names
    input.*         an input
    block.00, ...   what the stem and each block make of it, one after the other
    attention.00, ...   the weights of each block's attention, of those that attend
    output          the output
    gradients       of the output's weighted sum by each of the weights, in the order of their names,
                    two numbers: their weighted sum, and their length; 0 where nothing trains
    gradient.NAME   the whole of it by one of the first tensors

Run it again only where a network or a quantity is added; weights of another version of PyTorch's
generator would be others.
"""

import re
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent


def networks():
    bert = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=24, max_position_embeddings=12, type_vocab_size=2,
    )  # fmt: skip
    yield "bert", transformers.BertModel(bert, add_pooling_layer=False), None
    distilbert = transformers.DistilBertConfig(
        vocab_size=40, dim=16, n_layers=2, n_heads=4, hidden_dim=24, max_position_embeddings=12
    )
    yield "distilbert", transformers.DistilBertModel(distilbert), None
    vit = transformers.ViTConfig(
        image_size=8, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=24, layer_norm_eps=1e-6,
    )  # fmt: skip
    yield "vit", transformers.ViTModel(vit, add_pooling_layer=False), 8
    for kind, name, sizes in (
        ("basic", "resnet_basic", [8, 8, 12, 12]),
        ("bottleneck", "resnet_bottleneck", [16, 16, 24, 24]),
    ):
        resnet = transformers.ResNetConfig(
            embedding_size=sizes[0] if kind == "basic" else sizes[0] // 4,
            hidden_sizes=sizes,
            depths=[1, 2, 1, 1],
            layer_type=kind,
        )
        yield name, transformers.ResNetModel(resnet), 33
    mobilenet = transformers.MobileNetV2Config(
        depth_multiplier=0.08, depth_divisible_by=2, min_depth=2, finegrained_output=False,
        tf_padding=True,
    )  # fmt: skip
    yield "mobilenet", transformers.MobileNetV2Model(mobilenet, add_pooling_layer=False), 32


def random_statistics(model):
    """Batch statistics, scales and shifts as after a training, not 0 and 1."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.LayerNorm)):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
        elif isinstance(module, torch.nn.Conv2d):
            # Not as transformers draws them: through so many layers nothing would be left of it.
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
            torch.nn.init.normal_(module.weight, std=0.3)
            if getattr(module, "bias", None) is not None:
                torch.nn.init.uniform_(module.bias, -0.5, 0.5)


# Modules whose output is that of the stem, or of a block, in the order in which they are run.
BLOCKS = {
    "bert": r"embeddings|encoder\.layer\.\d+",
    "distilbert": r"embeddings|transformer\.layer\.\d+",
    "vit": r"embeddings|layers\.\d+",
    "resnet_basic": r"embedder|encoder\.stages\.\d+\.layers\.\d+",
    "resnet_bottleneck": r"embedder|encoder\.stages\.\d+\.layers\.\d+",
    "mobilenet": r"conv_stem\.first_conv|conv_stem|layer\.\d+|conv_1x1",
}


def listen(name, model):
    """What each block gives, ``[n, length, width]`` or ``[n, height, width, channels]``."""
    heard = []

    def keep(module, inputs, output):
        output = output[0] if isinstance(output, tuple) else output
        output = output.detach()
        heard.append((output.permute(0, 2, 3, 1) if output.ndim == 4 else output).numpy())

    for path, module in model.named_modules():
        if re.fullmatch(BLOCKS[name], path):
            module.register_forward_hook(keep)
    return heard


def summary(gradient):
    """A weighted sum of its numbers, and its length."""
    if gradient is None:
        return 0.0, 0.0
    flat = gradient.double().flatten()
    weights = torch.linspace(-1, 2, flat.numel(), dtype=torch.float64)
    return float(flat @ weights), float(flat.norm())


def main():
    torch.manual_seed(0)
    for name, model, size in networks():
        with torch.no_grad():
            random_statistics(model)
        attends = hasattr(model.config, "num_attention_heads") and "net" not in name
        if attends:
            model.set_attn_implementation("eager")  # the other kinds keep no weights
        model.eval()
        heard = listen(name, model)
        draw = np.random.default_rng(0)
        extra = {}
        if size is None:
            ids = draw.integers(1, 40, (3, 10))
            mask = np.arange(10) < np.array([[10], [7], [4]])
            found = model(
                input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask).long(),
                output_attentions=True,
            )  # fmt: skip
            out = found.last_hidden_state * torch.tensor(mask)[..., None]
            extra = {"input.ids": ids.astype(np.int32), "input.mask": mask}
        else:
            x = draw.normal(size=(2, size, size, 3)).astype(np.float32)
            options = {"output_attentions": True} if attends else {}
            found = model(pixel_values=torch.tensor(x).permute(0, 3, 1, 2), **options)
            out = found.last_hidden_state
            out = out[:, 0] if name == "vit" else out.mean((2, 3))
            extra = {"input.x": x}
        weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
        (out * weights).sum().backward()
        # The last parameter of an early layer: the gradient has come through all of the network.
        probed, tensor = next(
            (n, p) for n, p in model.named_parameters() if p.ndim >= 2 and p.grad is not None
        )
        # As it would be published: in memory transformers calls some layers otherwise.
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            published = load_file(Path(folder, "model.safetensors"))
        assert probed in published, probed
        tensors = {f"weights.{n}": t for n, t in published.items() if t.dtype == np.float32}
        tensors |= extra | {
            "output": out.detach().numpy(),
            f"gradient.{probed}": tensor.grad.numpy(),
        }
        # By their numbers: see above, names may differ.
        gradients = {p.detach().numpy().tobytes(): p.grad for p in model.parameters()}
        names = sorted(n for n in tensors if n.startswith("weights."))
        tensors["gradients"] = np.array(
            [summary(gradients.get(tensors[n].tobytes())) for n in names], np.float32
        )
        assert (tensors["gradients"][:, 1] > 0).sum() == len(gradients)
        tensors |= {f"block.{i:02}": each for i, each in enumerate(heard)}
        if attends:
            maps = [each.detach().numpy() for each in found.attentions]
            tensors |= {f"attention.{i:02}": each for i, each in enumerate(maps)}
        path = HERE / f"{name}.safetensors"
        save_file({n: np.ascontiguousarray(t) for n, t in tensors.items()}, path)
        path.chmod(0o644)
        print(name, path.stat().st_size, probed, [each.shape for each in heard])


if __name__ == "__main__":
    main()
