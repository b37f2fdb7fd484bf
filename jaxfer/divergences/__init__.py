"""How far apart are two samples? Arrays to a scalar."""

from jaxfer.divergences.bandwidths import kernel_bandwidth
from jaxfer.divergences.central_moment import central_moment_discrepancy
from jaxfer.divergences.coral import coral
from jaxfer.divergences.energy import energy_distance
from jaxfer.divergences.jensen_shannon import jensen_shannon
from jaxfer.divergences.joint_mmd import joint_mmd
from jaxfer.divergences.kernels import (
    GaussianKernel,
    LaplaceL1Kernel,
    LaplaceL2Kernel,
    LinearKernel,
    PolynomialKernel,
    RationalQuadraticKernel,
)
from jaxfer.divergences.kl import kl_gaussian, kl_logits
from jaxfer.divergences.local_mmd import local_mmd
from jaxfer.divergences.mmd import MMD_PRESETS, mmd
from jaxfer.divergences.random_features import mmd_random_features
from jaxfer.divergences.sinkhorn import SinkhornInfo, sinkhorn_divergence, sinkhorn_plan
from jaxfer.divergences.two_sample import (
    TwoSampleTest,
    Witness,
    mmd_two_sample_test,
    mmd_witness,
)
from jaxfer.divergences.wasserstein import sliced_wasserstein, wasserstein_1d

__all__ = [
    "MMD_PRESETS",
    "GaussianKernel",
    "LaplaceL1Kernel",
    "LaplaceL2Kernel",
    "LinearKernel",
    "PolynomialKernel",
    "RationalQuadraticKernel",
    "SinkhornInfo",
    "TwoSampleTest",
    "Witness",
    "central_moment_discrepancy",
    "coral",
    "energy_distance",
    "jensen_shannon",
    "joint_mmd",
    "kernel_bandwidth",
    "kl_gaussian",
    "kl_logits",
    "local_mmd",
    "mmd",
    "mmd_random_features",
    "mmd_two_sample_test",
    "mmd_witness",
    "sinkhorn_divergence",
    "sinkhorn_plan",
    "sliced_wasserstein",
    "wasserstein_1d",
]
