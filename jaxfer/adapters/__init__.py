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
from jaxfer.adapters.freezing import by_pattern, count_parameters, parameter_table, path_name
from jaxfer.adapters.gradient_reversal import reverse_gradient
from jaxfer.adapters.learning_rates import depth_of_groups, scale_by_depth, thaw_by_depth
from jaxfer.adapters.low_rank import (
    LowRank,
    init_low_rank,
    low_rank_scale,
    merge_low_rank,
    unmerge_low_rank,
)
from jaxfer.adapters.masks import Mask, by_path, merge, partition
from jaxfer.adapters.rescaling import init_rescaling, rescale
from jaxfer.adapters.strength_schedules import (
    constant_strength,
    dann_strength,
    linear_strength,
)

__all__ = [
    "DomainOutputs",
    "DomainStates",
    "FeatureMap",
    "LowRank",
    "Mask",
    "apply_to_domains",
    "by_path",
    "by_pattern",
    "constant_strength",
    "count_parameters",
    "dann_strength",
    "depth_of_groups",
    "init_low_rank",
    "init_rescaling",
    "linear_feature_map",
    "linear_strength",
    "low_rank_feature_map",
    "low_rank_scale",
    "merge",
    "merge_low_rank",
    "multilinear_map",
    "network_feature_map",
    "parameter_table",
    "partition",
    "path_name",
    "random_multilinear_map",
    "rescale",
    "reverse_gradient",
    "scale_by_depth",
    "thaw_by_depth",
    "unmerge_low_rank",
]
