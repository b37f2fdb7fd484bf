"""Flax networks as pure functions, and the one convolution they share."""

from jaxfer.models.conv import Conv, PatchConv, convolution, image_patches
from jaxfer.models.conv4 import Conv4, ConvBlock
from jaxfer.models.functional import Apply, Network, from_linen, from_nnx
from jaxfer.models.mlp import Mlp
from jaxfer.models.norm import BatchNorm

__all__ = [
    "Apply",
    "BatchNorm",
    "Conv",
    "Conv4",
    "ConvBlock",
    "Mlp",
    "Network",
    "PatchConv",
    "convolution",
    "from_linen",
    "from_nnx",
    "image_patches",
]
