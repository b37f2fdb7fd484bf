"""Flax networks as pure functions, and the one convolution they share."""

from jaxfer.models.conv import Conv, PatchConv, convolution, image_patches
from jaxfer.models.conv4 import Classification, Conv4, ConvBlock
from jaxfer.models.functional import Apply, Network, from_linen, from_nnx
from jaxfer.models.norm import BatchNorm

__all__ = [
    "Apply",
    "BatchNorm",
    "Classification",
    "Conv",
    "Conv4",
    "ConvBlock",
    "Network",
    "PatchConv",
    "convolution",
    "from_linen",
    "from_nnx",
    "image_patches",
]
