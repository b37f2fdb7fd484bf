"""What timm, torchvision and transformers call the parameters of the networks of images here."""

import re
from collections.abc import Callable, Mapping

import numpy as np

from jaxfer.models.loading import Place, Spelling
from jaxfer.models.mobilenet import MobileNetConfig
from jaxfer.models.spellings import LEAF, from_torch

_COUNTERS = "*num_batches_tracked"


def _at(name: str, leaf: str) -> Place:
    """A layer's parameter; ``#k`` after the name takes the k-th third of a joint projection."""
    name, _, third = name.partition("#")
    full = name + LEAF[leaf] if name.endswith("_") else f"{name}.{LEAF[leaf]}"
    take = from_torch(leaf)
    if not third:
        return Place(full, take)
    return Place(full, lambda x: take(np.split(x, 3)[int(third)]))


def _by_layer(
    names: Callable[[str], str | None], whole: Mapping[str, Place] | None = None
) -> Callable[[str], Place | None]:
    """Places from the name of a layer, and of parameters that belong to none."""

    def place(path: str) -> Place | None:
        if whole and path in whole:
            return whole[path]
        layer, _, leaf = path.rpartition("/")
        name = names(layer)
        return None if name is None or leaf not in LEAF else _at(name, leaf)

    return place


def _torchvision_resnet(layer: str) -> str | None:
    inside = re.fullmatch(r"stage(\d)_block(\d+)/(\w+?)(\d?)", layer)
    if not inside:
        return {"conv": "conv1", "norm": "bn1"}.get(layer)
    stage, block, kind, number = inside.groups()
    names = {"conv": "conv", "norm": "bn"}
    if kind in names and number:
        part = f"{names[kind]}{int(number) + 1}"
    else:
        part = {"shortcut": "downsample.0", "shortcut_norm": "downsample.1"}.get(kind + number, "")
    return f"layer{int(stage) + 1}.{block}.{part}" if part else None


def _transformers_resnet(layer: str) -> str | None:
    kinds = {"conv": "convolution", "norm": "normalization"}
    if layer in kinds:
        return f"embedder.embedder.{kinds[layer]}"
    inside = re.fullmatch(r"stage(\d)_block(\d+)/(\w+?)(\d?)", layer)
    if not inside:
        return None
    stage, block, kind, number = inside.groups()
    if kind in kinds and number:
        part = f"layer.{number}.{kinds[kind]}"
    else:
        shortcuts = {"shortcut": "shortcut.convolution", "shortcut_norm": "shortcut.normalization"}
        part = shortcuts.get(kind + number, "")
    return f"encoder.stages.{stage}.layers.{block}.{part}" if part else None


RESNET = (
    Spelling(
        "torchvision and timm (ResNet)", _by_layer(_torchvision_resnet), ("", "module."),
        ("fc.*", _COUNTERS),
    ),
    Spelling(
        "transformers (ResNet)", _by_layer(_transformers_resnet), ("resnet.", ""),
        ("classifier.*", _COUNTERS),
    ),
)  # fmt: skip
"""Of :class:`jaxfer.models.ResNet`."""


def mobilenet_spellings(config: MobileNetConfig) -> tuple[Spelling, ...]:
    """Of :class:`jaxfer.models.MobileNetV2`, whose blocks are counted in three ways.

    Args:
      config: its sizes.

    Returns:
      The spellings.

    >>> mobilenet_spellings(MobileNetConfig())[0].place("block1/expand/kernel").name
    'features.2.conv.0.0.weight'
    """
    places = [
        (stage, i, expansion)
        for stage, (expansion, _, blocks, _) in enumerate(config.stages)
        for i in range(blocks)
    ]

    def torchvision(layer: str) -> str | None:
        end = len(places) + 1
        outer = {"stem": "features.0.0", "stem_norm": "features.0.1", "last": f"features.{end}.0",
                 "last_norm": f"features.{end}.1"}  # fmt: skip
        inside = re.fullmatch(r"block(\d+)/(\w+)", layer)
        if not inside:
            return outer.get(layer)
        block, part = int(inside[1]), inside[2]
        first = places[block][2] != 1
        names = {"expand": "0.0", "expand_norm": "0.1"} if first else {}
        k = int(first)
        names |= {"depthwise": f"{k}.0", "depthwise_norm": f"{k}.1", "project": f"{k + 1}",
                  "project_norm": f"{k + 2}"}  # fmt: skip
        return f"features.{block + 1}.conv.{names[part]}" if part in names else None

    def timm(layer: str) -> str | None:
        outer = {"stem": "conv_stem", "stem_norm": "bn1", "last": "conv_head", "last_norm": "bn2"}
        inside = re.fullmatch(r"block(\d+)/(\w+)", layer)
        if not inside:
            return outer.get(layer)
        stage, i, expansion = places[int(inside[1])]
        names = {"expand": "conv_pw", "expand_norm": "bn1", "depthwise": "conv_dw",
                 "depthwise_norm": "bn2", "project": "conv_pwl", "project_norm": "bn3"}  # fmt: skip
        if expansion == 1:
            names = {"depthwise": "conv_dw", "depthwise_norm": "bn1", "project": "conv_pw",
                     "project_norm": "bn2"}  # fmt: skip
        part = names.get(inside[2])
        return None if part is None else f"blocks.{stage}.{i}.{part}"

    def transformers(layer: str) -> str | None:
        outer = {"stem": "conv_stem.first_conv.convolution",
                 "stem_norm": "conv_stem.first_conv.normalization",
                 "last": "conv_1x1.convolution", "last_norm": "conv_1x1.normalization"}  # fmt: skip
        inside = re.fullmatch(r"block(\d+)/(\w+?)(_norm)?", layer)
        if not inside:
            return outer.get(layer)
        names = {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}
        block, part = int(inside[1]), names.get(inside[2])
        if part is None:
            return None
        where = "conv_stem" if block == 0 else f"layer.{block - 1}"
        return f"{where}.{part}.{'normalization' if inside[3] else 'convolution'}"

    return (
        Spelling("torchvision (MobileNetV2)", _by_layer(torchvision), ("", "module."),
                 ("classifier.*", _COUNTERS)),
        Spelling("timm (MobileNetV2)", _by_layer(timm), ("",), ("classifier.*", _COUNTERS)),
        Spelling("transformers (MobileNetV2)", _by_layer(transformers), ("mobilenet_v2.", ""),
                 ("classifier.*", _COUNTERS)),
    )  # fmt: skip


def _vit(outer: Mapping[str, str], inner: Mapping[str, str], block: str) -> Callable:
    def names(layer: str) -> str | None:
        inside = re.fullmatch(r"block(\d+)/(.+)", layer)
        if not inside:
            return outer.get(layer)
        part = inner.get(inside[2])
        return None if part is None else f"{block.format(inside[1])}.{part}"

    return names


def _tokens(first: str, positions: str) -> dict[str, Place]:
    return {
        "class_token": Place(first, lambda x: x.reshape(-1)),
        "positions": Place(positions, lambda x: x.reshape(x.shape[-2:])),
    }


_JOINT = ("query", "key", "value")
VIT = (
    Spelling(
        "timm (ViT)",
        _by_layer(
            _vit(
                {"patches": "patch_embed.proj", "norm": "norm"},
                {
                    **{f"attention/{part}": f"attn.qkv#{i}" for i, part in enumerate(_JOINT)},
                    "attention/output": "attn.proj", "attention_norm": "norm1",
                    "up": "mlp.fc1", "down": "mlp.fc2", "output_norm": "norm2",
                },
                "blocks.{}",
            ),
            _tokens("cls_token", "pos_embed"),
        ),
        ("",),
        ("head.*",),
    ),
    Spelling(
        "torchvision (ViT)",
        _by_layer(
            _vit(
                {"patches": "conv_proj", "norm": "encoder.ln"},
                {
                    **{f"attention/{part}": f"self_attention.in_proj_#{i}"
                       for i, part in enumerate(_JOINT)},
                    "attention/output": "self_attention.out_proj", "attention_norm": "ln_1",
                    "up": "mlp.0", "down": "mlp.3", "output_norm": "ln_2",
                },
                "encoder.layers.encoder_layer_{}",
            ),
            _tokens("class_token", "encoder.pos_embedding"),
        ),
        ("",),
        ("heads.*",),
    ),
    Spelling(
        "transformers (ViT)",
        _by_layer(
            _vit(
                {"patches": "embeddings.patch_embeddings.projection", "norm": "layernorm"},
                {
                    **{f"attention/{part}": f"attention.attention.{part}" for part in _JOINT},
                    "attention/output": "attention.output.dense",
                    "attention_norm": "layernorm_before", "up": "intermediate.dense",
                    "down": "output.dense", "output_norm": "layernorm_after",
                },
                "encoder.layer.{}",
            ),
            _tokens("embeddings.cls_token", "embeddings.position_embeddings"),
        ),
        ("vit.", ""),
        ("classifier.*", "pooler.*", "embeddings.mask_token"),
    ),
)  # fmt: skip
"""Of :class:`jaxfer.models.ViT`."""
