"""Will it transfer? How far apart two domains are, before anything is trained on them."""

from jaxfer.transferability.diagnose import Diagnosis, diagnose
from jaxfer.transferability.proxy_a_distance import ProxyADistanceInfo, proxy_a_distance

__all__ = ["Diagnosis", "ProxyADistanceInfo", "diagnose", "proxy_a_distance"]
