"""Will it transfer? How far apart two domains are, and which source fits, before any training."""

from jaxfer.transferability.cka import cka
from jaxfer.transferability.diagnose import Diagnosis, diagnose
from jaxfer.transferability.h_score import HScoreInfo, h_score, ledoit_wolf_shrinkage
from jaxfer.transferability.leep import leep, nce
from jaxfer.transferability.logme import LogMEInfo, logme
from jaxfer.transferability.proxy_a_distance import ProxyADistanceInfo, proxy_a_distance
from jaxfer.transferability.rank_sources import (
    Ranking,
    coding_rate_gain,
    log_evidence,
    rank_sources,
    shrunk_h_score,
)
from jaxfer.transferability.trans_rate import trans_rate

__all__ = [
    "Diagnosis",
    "HScoreInfo",
    "LogMEInfo",
    "ProxyADistanceInfo",
    "Ranking",
    "cka",
    "coding_rate_gain",
    "diagnose",
    "h_score",
    "ledoit_wolf_shrinkage",
    "leep",
    "log_evidence",
    "logme",
    "nce",
    "proxy_a_distance",
    "rank_sources",
    "shrunk_h_score",
    "trans_rate",
]
