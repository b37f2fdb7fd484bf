"""Where arrays come from: a user's files, data sets, what is generated; splits and episodes."""

from jaxfer.data.characters import CharacterSet
from jaxfer.data.digits import Digits, blur, load_digits, sharp_and_blurred_digits
from jaxfer.data.download import download
from jaxfer.data.episodes import check_episode_shape, sample_episode
from jaxfer.data.folders import ImageFolder, decode_image, read_image_folder
from jaxfer.data.glyphs import draw_glyphs
from jaxfer.data.omniglot import load_omniglot
from jaxfer.data.sinusoids import Sinusoid, sample_sinusoid, sample_sinusoid_task
from jaxfer.data.splits import ClassSplit, alphabet_split, random_class_split
from jaxfer.data.tables import Table, read_table

__all__ = [
    "CharacterSet",
    "ClassSplit",
    "Digits",
    "ImageFolder",
    "Sinusoid",
    "Table",
    "alphabet_split",
    "blur",
    "check_episode_shape",
    "decode_image",
    "download",
    "draw_glyphs",
    "load_digits",
    "load_omniglot",
    "random_class_split",
    "read_image_folder",
    "read_table",
    "sample_episode",
    "sample_sinusoid",
    "sample_sinusoid_task",
    "sharp_and_blurred_digits",
]
