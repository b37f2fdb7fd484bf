"""Where arrays come from: Omniglot or glyphs in memory, splits, episodes drawn on the device."""

from jaxfer.data.characters import CharacterSet
from jaxfer.data.download import download
from jaxfer.data.episodes import check_episode_shape, sample_episode
from jaxfer.data.glyphs import draw_glyphs
from jaxfer.data.omniglot import load_omniglot
from jaxfer.data.sinusoids import Sinusoid, sample_sinusoid, sample_sinusoid_task
from jaxfer.data.splits import ClassSplit, alphabet_split, random_class_split

__all__ = [
    "CharacterSet",
    "ClassSplit",
    "Sinusoid",
    "alphabet_split",
    "check_episode_shape",
    "download",
    "draw_glyphs",
    "load_omniglot",
    "random_class_split",
    "sample_episode",
    "sample_sinusoid",
    "sample_sinusoid_task",
]
