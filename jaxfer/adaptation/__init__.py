"""Methods of domain adaptation: from a labelled source to an unlabelled target."""

from jaxfer.adaptation.adabn import adabn
from jaxfer.adaptation.adda import adda
from jaxfer.adaptation.afn import afn
from jaxfer.adaptation.augment import strong_augmentation, weak_augmentation
from jaxfer.adaptation.bnm import bnm
from jaxfer.adaptation.bsp import bsp
from jaxfer.adaptation.cdan import cdan
from jaxfer.adaptation.classifier import (
    Classifier,
    Encoder,
    Outputs,
    forward,
    forward_target,
    init_classifier,
    labelled_loss,
    predict,
    supervised_loss,
)
from jaxfer.adaptation.dan import dan
from jaxfer.adaptation.dann import dann, domain_accuracy
from jaxfer.adaptation.deep_coral import deep_coral
from jaxfer.adaptation.deep_jdot import deep_jdot
from jaxfer.adaptation.dsan import dsan
from jaxfer.adaptation.fixmatch import fixmatch
from jaxfer.adaptation.infomax import infomax
from jaxfer.adaptation.jan import jan
from jaxfer.adaptation.mcc import mcc
from jaxfer.adaptation.mcd import mcd
from jaxfer.adaptation.mdd import mdd
from jaxfer.adaptation.mean_teacher import mean_teacher
from jaxfer.adaptation.method import (
    Loss,
    Method,
    Player,
    Remembered,
    Term,
    Updated,
    entries,
    init_optimiser,
    minimise,
    play,
    scale_by_step,
    update,
)
from jaxfer.adaptation.osbp import osbp
from jaxfer.adaptation.pada import pada
from jaxfer.adaptation.pretraining import pretraining
from jaxfer.adaptation.pseudo_labels import pseudo_labels
from jaxfer.adaptation.shot import shot
from jaxfer.adaptation.source_only import source_only
from jaxfer.adaptation.tent import tent
from jaxfer.adaptation.vada import vada
from jaxfer.adaptation.wdgrl import wdgrl

__all__ = [
    "Classifier",
    "Encoder",
    "Loss",
    "Method",
    "Outputs",
    "Player",
    "Remembered",
    "Term",
    "Updated",
    "adabn",
    "adda",
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
    "fixmatch",
    "forward",
    "forward_target",
    "infomax",
    "init_classifier",
    "init_optimiser",
    "jan",
    "labelled_loss",
    "mcc",
    "mcd",
    "mdd",
    "mean_teacher",
    "minimise",
    "osbp",
    "pada",
    "play",
    "predict",
    "pretraining",
    "pseudo_labels",
    "scale_by_step",
    "shot",
    "source_only",
    "strong_augmentation",
    "supervised_loss",
    "tent",
    "update",
    "vada",
    "wdgrl",
    "weak_augmentation",
]
