"""Flax networks as pure functions, and the one convolution they share."""

from jaxfer.models.bert import (
    BERT_BASE,
    DISTILBERT,
    MINILM,
    Bert,
    BertConfig,
    TextClassifier,
    mean_of_tokens,
)
from jaxfer.models.conv import Conv, PatchConv, convolution, image_patches
from jaxfer.models.conv4 import Conv4, ConvBlock
from jaxfer.models.dense_encoder import DenseEncoder, SparseLinear
from jaxfer.models.digit_encoders import DannDigitEncoder, LeNet, small_lenet
from jaxfer.models.functional import Apply, Network, from_linen, from_nnx
from jaxfer.models.image_networks import (
    EncoderStart,
    ImageNetwork,
    image_input,
    image_network,
    load_image_encoder,
)
from jaxfer.models.layers import Embedding, Factors, LayerNorm, Linear, gelu
from jaxfer.models.loading import LoadReport, Place, Spelling, load_tensors, tensors_of
from jaxfer.models.mlp import Mlp
from jaxfer.models.mobilenet import (
    DepthwiseConv,
    InvertedResidual,
    MobileNetConfig,
    MobileNetV2,
)
from jaxfer.models.norm import BatchNorm
from jaxfer.models.parameter_efficient import add_bottlenecks, add_low_rank, fold_low_rank
from jaxfer.models.peft_files import (
    PeftAdapter,
    adapter_of,
    read_peft,
    with_adapter,
    write_peft,
)
from jaxfer.models.pooling import max_pool_2x2, max_pool_3x3
from jaxfer.models.published import LoadedEncoder, find_model, load_encoder
from jaxfer.models.recurrent_speech import RecurrentSpeechEncoder
from jaxfer.models.relation import RelationEncoder, RelationModule
from jaxfer.models.resnet import (
    RESNET18,
    RESNET34,
    RESNET50,
    ImageClassifier,
    ResidualBlock,
    ResNet,
    ResNetConfig,
    normalize_images,
)
from jaxfer.models.snail import CausalConv, Snail
from jaxfer.models.spectrogram_encoder import SpectrogramEncoder
from jaxfer.models.speech_networks import SPEECH_NETWORKS, speech_classifier, speech_input
from jaxfer.models.strided_encoder import StridedEncoder
from jaxfer.models.tensor_files import read_tensors, write_tensors
from jaxfer.models.text_encoders import BagOfEmbeddings, RecurrentEncoder
from jaxfer.models.transformer import Attention, Bottleneck, TransformerBlock
from jaxfer.models.vit import VIT_BASE, VIT_SMALL, ViT, ViTConfig

__all__ = [
    "Apply",
    "Attention",
    "BERT_BASE",
    "BagOfEmbeddings",
    "BatchNorm",
    "Bert",
    "BertConfig",
    "Bottleneck",
    "CausalConv",
    "Conv",
    "Conv4",
    "ConvBlock",
    "DISTILBERT",
    "DannDigitEncoder",
    "DenseEncoder",
    "DepthwiseConv",
    "Embedding",
    "EncoderStart",
    "Factors",
    "ImageClassifier",
    "ImageNetwork",
    "InvertedResidual",
    "LayerNorm",
    "LeNet",
    "Linear",
    "LoadReport",
    "LoadedEncoder",
    "MINILM",
    "Mlp",
    "MobileNetConfig",
    "MobileNetV2",
    "Network",
    "PatchConv",
    "PeftAdapter",
    "Place",
    "RESNET18",
    "RESNET34",
    "RESNET50",
    "RecurrentEncoder",
    "RecurrentSpeechEncoder",
    "RelationEncoder",
    "RelationModule",
    "ResNet",
    "ResNetConfig",
    "ResidualBlock",
    "SPEECH_NETWORKS",
    "Snail",
    "SparseLinear",
    "SpectrogramEncoder",
    "Spelling",
    "StridedEncoder",
    "TextClassifier",
    "TransformerBlock",
    "VIT_BASE",
    "VIT_SMALL",
    "ViT",
    "ViTConfig",
    "adapter_of",
    "add_bottlenecks",
    "add_low_rank",
    "convolution",
    "find_model",
    "fold_low_rank",
    "from_linen",
    "from_nnx",
    "gelu",
    "image_input",
    "image_network",
    "image_patches",
    "load_encoder",
    "load_image_encoder",
    "load_tensors",
    "max_pool_2x2",
    "max_pool_3x3",
    "mean_of_tokens",
    "normalize_images",
    "read_peft",
    "read_tensors",
    "small_lenet",
    "speech_classifier",
    "speech_input",
    "tensors_of",
    "with_adapter",
    "write_peft",
    "write_tensors",
]
