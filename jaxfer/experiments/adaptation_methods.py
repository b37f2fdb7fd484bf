"""What experiments on domain adaptation share: their flags, and the methods by name."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import optax
import tyro

from jaxfer import adaptation
from jaxfer.adaptation import Classifier, Method
from jaxfer.adaptation.fixmatch import Augment
from jaxfer.adapters import (
    FeatureMap,
    constant_strength,
    dann_strength,
    linear_feature_map,
    network_feature_map,
)
from jaxfer.adapters.strength_schedules import Schedule
from jaxfer.experiments.command_line import TrainingOptions, check_at_least
from jaxfer.typing import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptationOptions(TrainingOptions):
    """The flags of every experiment that adapts from a source to a target.

    >>> AdaptationOptions(methods=("dann", "cdan+e")).validator
    'information_maximization'
    """

    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = (
        "dann",
        "cdan+e",
        "dan",
    )
    """Which methods to train, one after the other; source-only always comes first, and training on
    the target's labels last, as the bounds between which they stand."""

    runs: Annotated[int, tyro.conf.arg(metavar="N")] = 3
    """How many runs of each method to train side by side, with seeds SEED, SEED + 1, ...; results
    are given with their mean and spread."""

    batch: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """Examples of each domain in a step."""

    rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 1e-3
    """Learning rate of Adam; it falls to a hundredth along a cosine over --steps."""

    strength: Annotated[float, tyro.conf.arg(metavar="STRENGTH")] = 1.0
    """Factor of what a method adds to the supervised loss, on top of the method's own weight."""

    adversary: Annotated[int, tyro.conf.arg(metavar="N")] = 256
    """Hidden units of each of the two layers of an adversary."""

    target_labels: Annotated[int, tyro.conf.arg(metavar="K")] = 0
    """How many target examples of each class have labels; their loss is added to the source's."""

    validator: Annotated[str, tyro.conf.arg(metavar="NAME")] = "information_maximization"
    """What picks the step that is reported, without target labels: source_accuracy, entropy,
    information_maximization, neighbourhood_density, mmd, importance_weighted or deep_embedded."""

    validate_every: Annotated[int, tyro.conf.arg(metavar="N")] = 100
    """Steps between validations."""

    checkpoint_every: Annotated[int, tyro.conf.arg(metavar="N")] = 500
    """Steps between checkpoints."""


SMOKE = {
    "steps": 4,
    "runs": 2,
    "batch": 8,
    "methods": ("dann",),
    "validate_every": 2,
    "checkpoint_every": 2,
}
"""What --smoke sets."""


class Recipe(NamedTuple):
    """What a method is made of.

    Attributes:
      classifier: the network.
      features, classes: how many it has.
      steps: of the whole training.
      strength: factor of what the method adds.
      hidden: units of the layers of an adversary.
      axis_name: the mapped axis over which batches are spread.
      weak, strong: ``augment(key, x) -> x`` of a batch, for methods that compare versions of it.
      unknown_head: a head with one class more, the unknown, for OSBP; ``None`` for a linear one.
      trained: whether ``method.init`` is given the source-only network as its ``start``. Otherwise
        ADDA, SHOT and TENT train theirs in the first half of the steps.

    >>> Recipe(None, features=500, classes=10, steps=1000).strength
    1.0
    """

    classifier: Classifier
    features: int
    classes: int
    steps: int
    strength: float = 1.0
    hidden: tuple[int, ...] = (256, 256)
    axis_name: str | None = None
    weak: Augment = adaptation.weak_augmentation
    strong: Augment = adaptation.strong_augmentation
    unknown_head: FeatureMap | None = None
    trained: bool = False

    @property
    def warm_up(self) -> int:
        """Steps in which a method that needs a trained source network makes one for itself."""
        return 0 if self.trained else self.steps // 2

    def rising(self, end: float = 1.0) -> Schedule:
        """DANN's schedule up to a weight."""
        return dann_strength(self.steps, end=end * self.strength)

    def constant(self, weight: float = 1.0) -> Schedule:
        """The same weight at every step."""
        return constant_strength(weight * self.strength)

    def critic(self, inputs: int | None = None) -> FeatureMap:
        """An adversary with one output."""
        return network_feature_map(inputs or self.features, 1, hidden=self.hidden)


def _conditional(recipe: Recipe, make: Callable[..., Method], **options: Any) -> Method:
    """A method with CDAN's adversary; of large products it sees a random part, as published."""
    inputs = recipe.features * recipe.classes
    random = 1024 if inputs > 4096 else None
    return make(
        recipe.classifier,
        adversary=recipe.critic(random or inputs),
        strength=recipe.rising(),
        random_dimension=random,
        axis_name=recipe.axis_name,
        **options,
    )


METHODS: Mapping[str, Callable[[Recipe], Method]] = {
    "source-only": lambda recipe: adaptation.source_only(recipe.classifier),
    # By a divergence.
    "dan": lambda recipe: adaptation.dan(
        recipe.classifier, strength=recipe.rising(), axis_name=recipe.axis_name
    ),
    "jan": lambda recipe: adaptation.jan(
        recipe.classifier, strength=recipe.rising(), axis_name=recipe.axis_name
    ),
    "dsan": lambda recipe: adaptation.dsan(
        recipe.classifier, strength=recipe.rising(0.5), axis_name=recipe.axis_name
    ),
    "coral": lambda recipe: adaptation.deep_coral(
        recipe.classifier, strength=recipe.constant(), axis_name=recipe.axis_name
    ),
    "deepjdot": lambda recipe: adaptation.deep_jdot(
        recipe.classifier, strength=recipe.rising(), axis_name=recipe.axis_name
    ),
    # By an adversary.
    "dann": lambda recipe: adaptation.dann(
        recipe.classifier, adversary=recipe.critic(), strength=recipe.rising()
    ),
    "cdan": lambda recipe: _conditional(recipe, adaptation.cdan),
    "cdan+e": lambda recipe: _conditional(recipe, adaptation.cdan, entropy_weights=True),
    "mdd": lambda recipe: adaptation.mdd(
        recipe.classifier,
        adversary=network_feature_map(recipe.features, recipe.classes, hidden=recipe.hidden),
        strength=recipe.rising(0.1),
        axis_name=recipe.axis_name,
    ),
    "adda": lambda recipe: adaptation.adda(
        recipe.classifier,
        adversary=recipe.critic(),
        warm_up=recipe.warm_up,
        axis_name=recipe.axis_name,
    ),
    "wdgrl": lambda recipe: adaptation.wdgrl(
        recipe.classifier,
        critic=recipe.critic(),
        strength=recipe.rising(),
        axis_name=recipe.axis_name,
    ),
    "mcd": lambda recipe: adaptation.mcd(recipe.classifier),
    # By the structure of features and predictions.
    "mcc": lambda recipe: adaptation.mcc(
        recipe.classifier, strength=recipe.constant(), axis_name=recipe.axis_name
    ),
    "afn": lambda recipe: adaptation.afn(recipe.classifier, strength=recipe.constant(0.05)),
    "dann+bsp": lambda recipe: adaptation.bsp(
        recipe.classifier,
        adversary=recipe.critic(),
        strength=recipe.rising(),
        axis_name=recipe.axis_name,
    ),
    "cdan+bsp": lambda recipe: _conditional(recipe, adaptation.bsp, conditional=True),
    "bnm": lambda recipe: adaptation.bnm(
        recipe.classifier, strength=recipe.constant(), axis_name=recipe.axis_name
    ),
    "infomax": lambda recipe: adaptation.infomax(
        recipe.classifier, strength=recipe.rising(), axis_name=recipe.axis_name
    ),
    "vat": lambda recipe: adaptation.vada(recipe.classifier, strength=recipe.constant()),
    "vada": lambda recipe: adaptation.vada(
        recipe.classifier,
        adversary=recipe.critic(),
        adversary_strength=recipe.constant(0.01),
        strength=recipe.constant(),
    ),
    # By self-training.
    "pseudo-labels": lambda recipe: adaptation.pseudo_labels(
        recipe.classifier, strength=recipe.rising()
    ),
    "fixmatch": lambda recipe: adaptation.fixmatch(
        recipe.classifier, weak=recipe.weak, strong=recipe.strong, strength=recipe.constant()
    ),
    "mean-teacher": lambda recipe: adaptation.mean_teacher(
        recipe.classifier, augment=recipe.weak, strength=recipe.constant(3.0)
    ),
    # Without the source, and at test time.
    "shot": lambda recipe: adaptation.shot(
        recipe.classifier,
        features=recipe.features,
        classes=recipe.classes,
        warm_up=recipe.warm_up,
        axis_name=recipe.axis_name,
    ),
    "tent": lambda recipe: adaptation.tent(recipe.classifier, warm_up=recipe.warm_up),
    "adabn": lambda recipe: adaptation.adabn(recipe.classifier),
    # For a target with fewer classes, or more.
    "pada": lambda recipe: adaptation.pada(
        recipe.classifier,
        adversary=recipe.critic(),
        classes=recipe.classes,
        strength=recipe.rising(),
        axis_name=recipe.axis_name,
    ),
    "osbp": lambda recipe: adaptation.osbp(
        recipe.classifier._replace(
            head=recipe.unknown_head or linear_feature_map(recipe.features, recipe.classes + 1)
        ),
        strength=recipe.rising(),  # at once, it drives the logits apart without end
    ),
}
"""Every method by the name that ``--methods`` takes."""


WITHOUT_STRENGTH = ("source-only", "mcd", "adda", "shot", "tent", "adabn")
"""Methods that add nothing that --strength could be a factor of."""


def make_method(name: str, recipe: Recipe) -> Method:
    """The method of a name.

    Args:
      name: a key of `METHODS`.
      recipe: what it is made of.

    Returns:
      The method.

    Raises:
      UserError: for another name.

    >>> make_method("danm", None)
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: There is no method 'danm'; the methods are: source-only, dan, jan, ...
    """
    if name not in METHODS:
        raise UserError(f"There is no method {name!r}; the methods are: {', '.join(METHODS)}.")
    return METHODS[name](recipe)


def make_optimiser(config: AdaptationOptions) -> optax.GradientTransformation:
    """Adam, its rate along a cosine of the step, the same for every player.

    >>> make_optimiser(AdaptationOptions()).update is not None
    True
    """
    rate = optax.cosine_decay_schedule(config.rate, config.steps, alpha=0.01)
    return optax.chain(optax.scale_by_adam(), adaptation.scale_by_step(rate))


def check_options(config: AdaptationOptions) -> None:
    """Checks the numbers and names that all these experiments have in common.

    Args:
      config: the settings.

    Raises:
      UserError: if one makes no sense.

    >>> check_options(AdaptationOptions())
    """
    check_at_least(
        config, batch=1, adversary=1, validate_every=1, checkpoint_every=1, rate=0, strength=0,
        target_labels=0,
    )  # fmt: skip
    for name in config.methods:
        if name not in METHODS:
            make_method(name, None)  # type: ignore[arg-type]
    if config.strength != 1 and (deaf := set(config.methods) & set(WITHOUT_STRENGTH)):
        print(f"--strength is {config.strength}; it is no part of: {', '.join(sorted(deaf))}.")
    if not config.methods:
        raise UserError(f"--methods is empty; give some of {', '.join(METHODS)}.")
