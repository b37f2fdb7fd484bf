"""Methods of domain adaptation: from a labelled source to an unlabelled target."""

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
from jaxfer.adaptation.mcd import mcd
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
from jaxfer.adaptation.source_only import source_only

__all__ = [
    "Classifier",
    "Encoder",
    "Loss",
    "Method",
    "Outputs",
    "Player",
    "Term",
    "Updated",
    "cdan",
    "dan",
    "dann",
    "domain_accuracy",
    "entries",
    "forward",
    "init_classifier",
    "init_optimiser",
    "mcd",
    "minimise",
    "play",
    "predict",
    "source_only",
    "supervised_loss",
    "update",
]
