"""Methods of domain adaptation: from a labelled source to an unlabelled target."""

from jaxfer.adaptation.afn import afn
from jaxfer.adaptation.bnm import bnm
from jaxfer.adaptation.bsp import bsp
from jaxfer.adaptation.cdan import cdan
from jaxfer.adaptation.classifier import (
    Classifier,
    Encoder,
    Outputs,
    forward,
    init_classifier,
    predict,
    supervised_loss,
)
from jaxfer.adaptation.dan import dan
from jaxfer.adaptation.dann import dann, domain_accuracy
from jaxfer.adaptation.deep_coral import deep_coral
from jaxfer.adaptation.deep_jdot import deep_jdot
from jaxfer.adaptation.dsan import dsan
from jaxfer.adaptation.infomax import infomax
from jaxfer.adaptation.jan import jan
from jaxfer.adaptation.mcc import mcc
from jaxfer.adaptation.mcd import mcd
from jaxfer.adaptation.mdd import mdd
from jaxfer.adaptation.method import (
    Loss,
    Method,
    Player,
    Term,
    Updated,
    entries,
    init_optimiser,
    minimise,
    play,
    update,
)
from jaxfer.adaptation.pseudo_labels import pseudo_labels
from jaxfer.adaptation.source_only import source_only
from jaxfer.adaptation.vada import vada

__all__ = [
    "Classifier",
    "Encoder",
    "Loss",
    "Method",
    "Outputs",
    "Player",
    "Term",
    "Updated",
    "afn",
    "bnm",
    "bsp",
    "cdan",
    "dan",
    "dann",
    "deep_coral",
    "deep_jdot",
    "domain_accuracy",
    "dsan",
    "entries",
    "forward",
    "infomax",
    "init_classifier",
    "init_optimiser",
    "jan",
    "mcc",
    "mcd",
    "mdd",
    "minimise",
    "play",
    "predict",
    "pseudo_labels",
    "source_only",
    "supervised_loss",
    "update",
    "vada",
]
