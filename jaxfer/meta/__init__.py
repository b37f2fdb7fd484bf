"""Learning to adapt: one inner loop, and the methods that are settings of it."""

from jaxfer.meta.adapt import Adapted, AdaptInfo, LossFn, adapt
from jaxfer.meta.cavia import cavia
from jaxfer.meta.conditional import (
    Answer,
    Conditioned,
    Embed,
    answer_by_adapting,
    answer_by_features,
    classification_loss,
    conditional,
    pretrained,
)
from jaxfer.meta.heads import Head
from jaxfer.meta.imaml import imaml
from jaxfer.meta.learner import Learner, MetaGradient, mean_over_tasks
from jaxfer.meta.maml import anil, boil, fomaml, learner_from, maml, record_statistics
from jaxfer.meta.maml_plus_plus import maml_plus_plus, multi_step_weights
from jaxfer.meta.meta_sgd import meta_sgd
from jaxfer.meta.nearest_centroid import nearest_centroid, simple_shot
from jaxfer.meta.reptile import reptile
from jaxfer.meta.rules import learned_rates, learned_step_rates

__all__ = [
    "AdaptInfo",
    "Adapted",
    "Answer",
    "Conditioned",
    "Embed",
    "Head",
    "Learner",
    "LossFn",
    "MetaGradient",
    "adapt",
    "anil",
    "answer_by_adapting",
    "answer_by_features",
    "boil",
    "cavia",
    "classification_loss",
    "conditional",
    "fomaml",
    "imaml",
    "learned_rates",
    "learned_step_rates",
    "learner_from",
    "maml",
    "maml_plus_plus",
    "mean_over_tasks",
    "meta_sgd",
    "multi_step_weights",
    "nearest_centroid",
    "pretrained",
    "record_statistics",
    "reptile",
    "simple_shot",
]
