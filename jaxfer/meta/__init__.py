"""Learning to adapt: by gradients, by metric, by a black box, and online."""

from jaxfer.meta.adapt import Adapted, AdaptInfo, LossFn, adapt
from jaxfer.meta.cavia import cavia
from jaxfer.meta.conditional import (
    Answer,
    Conditioned,
    Embed,
    OutputLoss,
    answer_by_adapting,
    answer_by_features,
    classification_loss,
    conditional,
    embed_both,
    pretrained,
)
from jaxfer.meta.full_context import FullContext, full_context
from jaxfer.meta.heads import Head
from jaxfer.meta.imaml import imaml
from jaxfer.meta.learner import Learner, MetaGradient, mean_over_tasks
from jaxfer.meta.linear_probe import linear_probe
from jaxfer.meta.maml import anil, boil, fomaml, learner_from, maml, record_statistics
from jaxfer.meta.maml_plus_plus import maml_plus_plus, multi_step_weights
from jaxfer.meta.matching import Similarity, matching, nearest_neighbour
from jaxfer.meta.meta_sgd import meta_sgd
from jaxfer.meta.nearest_centroid import Distance, nearest_centroid, simple_shot
from jaxfer.meta.neural_process import class_summaries, gaussian_loss, neural_process
from jaxfer.meta.online import Learn, OnlineInfo, Reset, learn_online, oml, reset_columns
from jaxfer.meta.online_mlp import ExampleLoss, learn_online_mlp
from jaxfer.meta.proto_maml import proto_maml, prototype_head
from jaxfer.meta.relation import relation, relation_loss, relation_pairs
from jaxfer.meta.reptile import reptile
from jaxfer.meta.ridge import ridge
from jaxfer.meta.rules import learned_rates, learned_step_rates
from jaxfer.meta.sequence import answer_by_sequence

__all__ = [
    "AdaptInfo",
    "Adapted",
    "Answer",
    "Conditioned",
    "Distance",
    "Embed",
    "ExampleLoss",
    "FullContext",
    "Head",
    "Learn",
    "Learner",
    "LossFn",
    "MetaGradient",
    "OnlineInfo",
    "OutputLoss",
    "Reset",
    "Similarity",
    "adapt",
    "anil",
    "answer_by_adapting",
    "answer_by_features",
    "answer_by_sequence",
    "boil",
    "cavia",
    "class_summaries",
    "classification_loss",
    "conditional",
    "embed_both",
    "fomaml",
    "full_context",
    "gaussian_loss",
    "imaml",
    "learn_online",
    "learn_online_mlp",
    "learned_rates",
    "learned_step_rates",
    "learner_from",
    "linear_probe",
    "maml",
    "maml_plus_plus",
    "matching",
    "mean_over_tasks",
    "meta_sgd",
    "multi_step_weights",
    "nearest_centroid",
    "nearest_neighbour",
    "neural_process",
    "oml",
    "pretrained",
    "proto_maml",
    "prototype_head",
    "record_statistics",
    "relation",
    "relation_loss",
    "relation_pairs",
    "reptile",
    "reset_columns",
    "ridge",
    "simple_shot",
]
