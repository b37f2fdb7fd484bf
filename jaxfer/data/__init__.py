"""Where arrays come from: a user's files, data sets, what is generated; splits and episodes."""

from jaxfer.data.blended import Photographs, blend, blend_domain, load_photographs
from jaxfer.data.characters import CharacterSet
from jaxfer.data.digit_domains import digit_pair, in_color, load_digit_domain
from jaxfer.data.digits import Digits, blur, load_digits, sharp_and_blurred_digits
from jaxfer.data.domains import Domain, make_domain, train_test_indices
from jaxfer.data.download import download
from jaxfer.data.episodes import check_episode_shape, sample_episode
from jaxfer.data.folders import ImageFolder, decode_image, read_image_folder
from jaxfer.data.glyphs import draw_glyphs
from jaxfer.data.mnist import load_mnist
from jaxfer.data.omniglot import load_omniglot
from jaxfer.data.sinusoids import Sinusoid, sample_sinusoid, sample_sinusoid_task
from jaxfer.data.splits import ClassSplit, alphabet_split, random_class_split
from jaxfer.data.tables import Table, read_table
from jaxfer.data.usps import load_usps

__all__ = [
    "CharacterSet",
    "ClassSplit",
    "Digits",
    "Domain",
    "ImageFolder",
    "Photographs",
    "Sinusoid",
    "Table",
    "alphabet_split",
    "blend",
    "blend_domain",
    "blur",
    "check_episode_shape",
    "decode_image",
    "digit_pair",
    "download",
    "draw_glyphs",
    "in_color",
    "load_digit_domain",
    "load_digits",
    "load_mnist",
    "load_omniglot",
    "load_photographs",
    "load_usps",
    "make_domain",
    "random_class_split",
    "read_image_folder",
    "read_table",
    "sample_episode",
    "sample_sinusoid",
    "sample_sinusoid_task",
    "sharp_and_blurred_digits",
    "train_test_indices",
]
