"""What is put in or around a network."""

from jaxfer.adapters.domain_statistics import DomainOutputs, DomainStates, apply_to_domains
from jaxfer.adapters.feature_maps import (
    FeatureMap,
    linear_feature_map,
    low_rank_feature_map,
    multilinear_map,
    network_feature_map,
    random_multilinear_map,
)
from jaxfer.adapters.gradient_reversal import reverse_gradient
from jaxfer.adapters.strength_schedules import (
    constant_strength,
    dann_strength,
    linear_strength,
)

__all__ = [
    "DomainOutputs",
    "DomainStates",
    "FeatureMap",
    "apply_to_domains",
    "constant_strength",
    "dann_strength",
    "linear_feature_map",
    "linear_strength",
    "low_rank_feature_map",
    "multilinear_map",
    "network_feature_map",
    "random_multilinear_map",
    "reverse_gradient",
]
