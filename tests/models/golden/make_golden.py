"""Makes the golden files beside it, from random small networks of PyTorch's transformers.

    python tests/models/golden/make_golden.py

Needs torch and transformers, which the tests do not: each file holds a network's weights under
their own names, an input, the output in float32 and the gradient of the output's weighted sum by
one tensor. Run it again only where a network is added; weights of another version of PyTorch's
generator would be others.
"""

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


def main():
    torch.manual_seed(0)
    for name, model, size in networks():
        model.eval()
        with torch.no_grad():
            random_statistics(model)
        draw = np.random.default_rng(0)
        extra = {}
        if size is None:
            ids = draw.integers(1, 40, (3, 10))
            mask = np.arange(10) < np.array([[10], [7], [4]])
            out = model(
                input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask).long()
            ).last_hidden_state
            out = out * torch.tensor(mask)[..., None]
            extra = {"input.ids": ids.astype(np.int32), "input.mask": mask}
        else:
            x = draw.normal(size=(2, size, size, 3)).astype(np.float32)
            out = model(pixel_values=torch.tensor(x).permute(0, 3, 1, 2)).last_hidden_state
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
        path = HERE / f"{name}.safetensors"
        save_file({n: np.ascontiguousarray(t) for n, t in tensors.items()}, path)
        path.chmod(0o644)
        print(name, path.stat().st_size, probed, sorted(model.state_dict())[:6])


if __name__ == "__main__":
    main()
