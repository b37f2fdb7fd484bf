"""Where arrays come from: a user's files, data sets, what is generated; splits and episodes."""

from jaxfer.data.blended import Photographs, blend, blend_domain, load_photographs
from jaxfer.data.characters import CharacterSet
from jaxfer.data.cifar10 import load_cifar10
from jaxfer.data.corruptions import (
    CORRUPTIONS,
    add_noise,
    blur_images,
    corrupt_domain,
    invert,
    lower_contrast,
)
from jaxfer.data.digit_domains import digit_pair, in_color, load_digit_domain
from jaxfer.data.digits import Digits, blur, load_digits, sharp_and_blurred_digits
from jaxfer.data.domains import Domain, join_domains, make_domain, train_test_indices
from jaxfer.data.download import download
from jaxfer.data.episodes import check_episode_shape, sample_episode, sample_labelled
from jaxfer.data.folders import ImageFolder, decode_image, read_image_folder
from jaxfer.data.formant_speech import speak_digits
from jaxfer.data.glyphs import draw_glyphs
from jaxfer.data.image_domains import load_image_pair
from jaxfer.data.label_subsets import keep_classes, keep_known, merge_unknown
from jaxfer.data.lake_runs import LakeRuns, make_lake_runs, read_lake_runs
from jaxfer.data.log_mel import log_mel, mel_filters
from jaxfer.data.made_up_reviews import make_up_reviews
from jaxfer.data.mnist import load_mnist
from jaxfer.data.omniglot import load_omniglot
from jaxfer.data.own_classes import read_own_classes
from jaxfer.data.recordings import bring_to_length, read_recordings, read_wav
from jaxfer.data.reviews import SparseRows, load_reviews, sparse_rows
from jaxfer.data.sinusoids import Sinusoid, sample_sinusoid, sample_sinusoid_task
from jaxfer.data.spectrogram_augmentation import another_voice, blank_stripes
from jaxfer.data.spectrograms import spectrograms
from jaxfer.data.splits import ClassSplit, alphabet_split, background_split, random_class_split
from jaxfer.data.spoken_digits import leave_speaker_out, load_spoken_digits
from jaxfer.data.tables import Table, read_table
from jaxfer.data.template_reviews import write_reviews
from jaxfer.data.text_tables import read_text_table
from jaxfer.data.texts import load_review_texts, load_sentences
from jaxfer.data.tfds_images import load_tfds_images
from jaxfer.data.tokens import load_tokenizer, tokenize
from jaxfer.data.trajectories import sample_trajectory
from jaxfer.data.usps import load_usps
from jaxfer.data.vocabulary import (
    Vocabulary,
    build_vocabulary,
    encode_texts,
    split_words,
    token_pair,
)
from jaxfer.data.warps import warp_images

__all__ = [
    "CORRUPTIONS",
    "CharacterSet",
    "ClassSplit",
    "Digits",
    "Domain",
    "ImageFolder",
    "LakeRuns",
    "Photographs",
    "Sinusoid",
    "SparseRows",
    "Table",
    "Vocabulary",
    "add_noise",
    "alphabet_split",
    "another_voice",
    "background_split",
    "blank_stripes",
    "blend",
    "blend_domain",
    "blur",
    "blur_images",
    "bring_to_length",
    "build_vocabulary",
    "check_episode_shape",
    "corrupt_domain",
    "decode_image",
    "digit_pair",
    "download",
    "draw_glyphs",
    "encode_texts",
    "in_color",
    "invert",
    "join_domains",
    "keep_classes",
    "keep_known",
    "leave_speaker_out",
    "load_cifar10",
    "load_digit_domain",
    "load_digits",
    "load_image_pair",
    "load_mnist",
    "load_omniglot",
    "load_photographs",
    "load_review_texts",
    "load_reviews",
    "load_sentences",
    "load_spoken_digits",
    "load_tfds_images",
    "load_tokenizer",
    "load_usps",
    "log_mel",
    "lower_contrast",
    "make_domain",
    "make_lake_runs",
    "make_up_reviews",
    "mel_filters",
    "merge_unknown",
    "random_class_split",
    "read_image_folder",
    "read_lake_runs",
    "read_own_classes",
    "read_recordings",
    "read_table",
    "read_text_table",
    "read_wav",
    "sample_episode",
    "sample_labelled",
    "sample_sinusoid",
    "sample_sinusoid_task",
    "sample_trajectory",
    "sharp_and_blurred_digits",
    "sparse_rows",
    "speak_digits",
    "spectrograms",
    "split_words",
    "token_pair",
    "tokenize",
    "train_test_indices",
    "warp_images",
    "write_reviews",
]
