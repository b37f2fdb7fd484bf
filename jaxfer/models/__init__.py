"""Flax networks as pure functions, and the one convolution they share."""

from jaxfer.models.conv import Conv, PatchConv, convolution, image_patches
from jaxfer.models.conv4 import Conv4, ConvBlock
from jaxfer.models.dense_encoder import DenseEncoder, SparseLinear
from jaxfer.models.digit_encoders import DannDigitEncoder, LeNet, small_lenet
from jaxfer.models.functional import Apply, Network, from_linen, from_nnx
from jaxfer.models.mlp import Mlp
from jaxfer.models.norm import BatchNorm
from jaxfer.models.pooling import max_pool_2x2
from jaxfer.models.relation import RelationEncoder, RelationModule
from jaxfer.models.snail import CausalConv, Snail
from jaxfer.models.spectrogram_encoder import SpectrogramEncoder
from jaxfer.models.strided_encoder import StridedEncoder
from jaxfer.models.text_encoders import BagOfEmbeddings, RecurrentEncoder

__all__ = [
    "Apply",
    "BagOfEmbeddings",
    "BatchNorm",
    "CausalConv",
    "Conv",
    "Conv4",
    "ConvBlock",
    "DannDigitEncoder",
    "DenseEncoder",
    "LeNet",
    "Mlp",
    "Network",
    "PatchConv",
    "RecurrentEncoder",
    "RelationEncoder",
    "RelationModule",
    "Snail",
    "SparseLinear",
    "SpectrogramEncoder",
    "StridedEncoder",
    "convolution",
    "from_linen",
    "from_nnx",
    "image_patches",
    "max_pool_2x2",
    "small_lenet",
]
