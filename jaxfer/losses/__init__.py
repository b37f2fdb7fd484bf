"""One term of an objective, from features or logits."""

from jaxfer.losses.batch_spectral import batch_spectral_penalty, nuclear_norm_maximization
from jaxfer.losses.classifier_discrepancy import classifier_discrepancy
from jaxfer.losses.contrastive import contrastive, supervised_contrastive, triplet
from jaxfer.losses.deep_jdot import deep_jdot
from jaxfer.losses.domain_adversarial import domain_adversarial, entropy_conditioning
from jaxfer.losses.entropy import entropy, information_maximization
from jaxfer.losses.feature_norm import hard_feature_norm, stepwise_feature_norm
from jaxfer.losses.margin_disparity import margin_disparity
from jaxfer.losses.minimum_class_confusion import minimum_class_confusion
from jaxfer.losses.open_set import open_set_boundary
from jaxfer.losses.partial import partial_class_weights
from jaxfer.losses.pseudo_labels import fixmatch_consistency, pseudo_label_cross_entropy
from jaxfer.losses.virtual_adversarial import virtual_adversarial
from jaxfer.losses.wasserstein_critic import gradient_penalty, wasserstein_critic

__all__ = [
    "batch_spectral_penalty",
    "classifier_discrepancy",
    "contrastive",
    "deep_jdot",
    "domain_adversarial",
    "entropy",
    "entropy_conditioning",
    "fixmatch_consistency",
    "gradient_penalty",
    "hard_feature_norm",
    "information_maximization",
    "margin_disparity",
    "minimum_class_confusion",
    "nuclear_norm_maximization",
    "open_set_boundary",
    "partial_class_weights",
    "pseudo_label_cross_entropy",
    "stepwise_feature_norm",
    "supervised_contrastive",
    "triplet",
    "virtual_adversarial",
    "wasserstein_critic",
]
