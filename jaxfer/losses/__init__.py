"""One term of an objective, from features or logits."""

from jaxfer.losses.anchored import delta, delta_channel_weights, l2_sp
from jaxfer.losses.batch_spectral import (
    batch_spectral_penalty,
    batch_spectral_shrinkage,
    nuclear_norm_maximization,
)
from jaxfer.losses.class_weights import class_weights
from jaxfer.losses.classifier_discrepancy import classifier_discrepancy
from jaxfer.losses.contrastive import contrastive, supervised_contrastive, triplet
from jaxfer.losses.deep_jdot import deep_jdot
from jaxfer.losses.distillation import distillation, feature_distillation
from jaxfer.losses.domain_adversarial import domain_adversarial, entropy_conditioning
from jaxfer.losses.entropy import entropy, information_maximization
from jaxfer.losses.feature_norm import hard_feature_norm, stepwise_feature_norm
from jaxfer.losses.fisher import fisher_diagonal
from jaxfer.losses.margin_disparity import margin_disparity
from jaxfer.losses.minimum_class_confusion import minimum_class_confusion
from jaxfer.losses.multi_task import project_conflicting, uncertainty_weighted
from jaxfer.losses.nt_xent import nt_xent
from jaxfer.losses.open_set import open_set_boundary
from jaxfer.losses.partial import partial_class_weights
from jaxfer.losses.pseudo_labels import fixmatch_consistency, pseudo_label_cross_entropy
from jaxfer.losses.virtual_adversarial import virtual_adversarial
from jaxfer.losses.wasserstein_critic import gradient_penalty, wasserstein_critic

__all__ = [
    "batch_spectral_penalty",
    "batch_spectral_shrinkage",
    "class_weights",
    "classifier_discrepancy",
    "contrastive",
    "deep_jdot",
    "delta",
    "delta_channel_weights",
    "distillation",
    "domain_adversarial",
    "entropy",
    "entropy_conditioning",
    "feature_distillation",
    "fisher_diagonal",
    "fixmatch_consistency",
    "gradient_penalty",
    "hard_feature_norm",
    "information_maximization",
    "l2_sp",
    "margin_disparity",
    "minimum_class_confusion",
    "nt_xent",
    "nuclear_norm_maximization",
    "open_set_boundary",
    "partial_class_weights",
    "project_conflicting",
    "pseudo_label_cross_entropy",
    "stepwise_feature_norm",
    "supervised_contrastive",
    "triplet",
    "uncertainty_weighted",
    "virtual_adversarial",
    "wasserstein_critic",
]
