"""Folders of fine-tuned models: written by an experiment, loaded and asked in a line each."""

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from jaxfer.data import decode_image, load_tokenizer, read_recordings, spectrograms, tokenize
from jaxfer.models import (
    BertConfig,
    ImageClassifier,
    TextClassifier,
    from_nnx,
    load_tensors,
    read_tensors,
    speech_classifier,
    speech_input,
)
from jaxfer.models.image_networks import image_input, image_network
from jaxfer.models.loading import tensors_of
from jaxfer.models.tensor_files import WEIGHTS, write_tensors
from jaxfer.typing import Classification, PyTree, UserError

_CONFIG = "jaxfer.json"
_CHUNK = 32  # examples that are judged at once; the last chunk is filled up, so one program serves


class Predictions(NamedTuple):
    """What a model says of some examples.

    Attributes:
      labels: the name of the most probable class of each.
      probabilities: ``[n, classes]`` float32.
      classes: their names.

    >>> Predictions(("cat",), np.array([[0.9, 0.1]]), ("cat", "dog")).labels[0]
    'cat'
    """

    labels: tuple[str, ...]
    probabilities: np.ndarray
    classes: tuple[str, ...]


class SavedModel(NamedTuple):
    """A model from its folder.

    Attributes:
      kind: ``"text"``, ``"image"`` or ``"speech"``.
      classes: names.
      network: ``network(x) -> Classification`` of a prepared batch, compiled.
      prepare: from what a user has, texts, images or recordings, to batches of arrays.

    >>> SavedModel("text", ("bad", "good"), None, None).kind
    'text'
    """

    kind: str
    classes: tuple[str, ...]
    network: Callable[[PyTree], Classification]
    prepare: Callable[[Sequence[Any]], PyTree]


def save_model(
    folder: str | Path,
    *,
    kind: str,
    settings: Mapping[str, Any],
    classes: Sequence[str],
    params: PyTree,
    state: PyTree,
    beside: Sequence[Path] = (),
) -> None:
    """Writes a model that :func:`load_model` reads: weights, settings, names of the classes.

    Args:
      folder: it is made if need be; the settings, without which nothing is loaded, come last.
      kind: ``"text"``, ``"image"`` or ``"speech"``.
      settings: of the network, as its kind's builder takes them.
      classes: names.
      params, state: of the network.
      beside: files that are copied, such as a tokenizer.

    Raises:
      UserError: it cannot be written.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> save_model(
    ...     folder, kind="text", settings={}, classes=("a",), params={"w": np.ones(1)}, state={}
    ... )
    >>> sorted(path.name for path in Path(folder).iterdir())
    ['jaxfer.json', 'model.safetensors']
    """
    folder = Path(folder)
    write_tensors(folder / WEIGHTS, tensors_of(params, state))
    try:
        for path in beside:
            shutil.copyfile(path, folder / path.name)
        text = json.dumps({"kind": kind, "classes": list(classes), "settings": settings}, indent=2)
        (folder / _CONFIG).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder} could not be written ({error}).") from error


def load_model(folder: str | Path) -> SavedModel:
    """Loads a model that an experiment saved.

    Args:
      folder: such as ``runs/finetune_text/model``.

    Returns:
      The model.

    Raises:
      UserError: the folder is not one, or something in it is missing, damaged or does not fit.

    >>> load_model("no/such/folder")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: no/such/folder holds no jaxfer.json; name the folder "model" of a run.
    """
    folder = Path(folder)
    path = folder / _CONFIG
    if not path.is_file():
        raise UserError(f'{folder} holds no {_CONFIG}; name the folder "model" of a run.')
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind, classes = config["kind"], tuple(config["classes"])
        settings = dict(config["settings"])
        build, prepare = _KINDS[kind](folder, settings, len(classes))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} cannot be read ({error!r}); train again.") from error
    network = from_nnx(build)
    shapes, statistics = jax.eval_shape(network.init, jax.random.key(0))
    params, state, _ = load_tensors(
        read_tensors(folder), shapes, statistics, [], origin=str(folder)
    )

    @jax.jit
    def apply(params: PyTree, state: PyTree, x: PyTree) -> Classification:
        return network.apply(params, state, x, train=False)[0]

    weights = jax.tree.map(jnp.asarray, (params, state))
    return SavedModel(kind, classes, partial(apply, *weights), prepare)


def predict(model: SavedModel | str | Path, examples: Sequence[Any] | Any) -> Predictions:
    """Classifies texts, images, or recordings.

    Args:
      model: from :func:`load_model`, or its folder, which is then loaded once.
      examples: strings; or images, as paths of files or arrays ``[height, width, channels]`` of
        uint8; or recordings, as paths of WAV files or arrays ``[samples]`` of int16, or of floating
        point in [-1, 1], of one channel at the rate that the model was trained with: 8000 samples a
        second. A single one is a list of one.

    Returns:
      :class:`Predictions`.

    Raises:
      UserError: no example, or one of a kind that the model does not take.

    >>> predict("no/such/folder", ["A text."])
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: no/such/folder holds no jaxfer.json; name the folder "model" of a run.
    """
    loaded = model if isinstance(model, SavedModel) else _remembered(str(model))
    if isinstance(examples, (str, Path)) or hasattr(examples, "dtype"):
        examples = [examples]
    examples = list(examples)
    if not examples:
        raise UserError("There is no example to predict.")
    x = loaded.prepare(examples)
    n = len(examples)
    outputs = []
    for start in range(0, n, _CHUNK):
        places = np.minimum(np.arange(start, start + _CHUNK), n - 1)
        logits = loaded.network(jax.tree.map(lambda leaf: leaf[places], x)).logits  # noqa: B023
        outputs.append(np.asarray(jax.nn.softmax(logits)))
    probabilities = np.concatenate(outputs)[:n]
    labels = tuple(loaded.classes[k] for k in probabilities.argmax(1))
    return Predictions(labels, probabilities, loaded.classes)


@lru_cache(maxsize=2)
def _remembered(folder: str) -> SavedModel:
    return load_model(folder)


Built = tuple[Callable[[nnx.Rngs], nnx.Module], Callable[[Sequence[Any]], PyTree]]


def _text(folder: Path, settings: dict[str, Any], classes: int) -> Built:
    tokenizer = load_tokenizer(folder)
    length, pooling = settings["length"], settings["pooling"]
    config = BertConfig(**settings["encoder"])

    def prepare(examples: Sequence[Any]) -> PyTree:
        tokens = tokenize(examples, tokenizer, length=length)
        # Always of one width: a program for each would have to be compiled.
        missing = ((0, 0), (0, length - tokens.ids.shape[1]))
        return tokens._replace(ids=np.pad(tokens.ids, missing), mask=np.pad(tokens.mask, missing))

    return (
        lambda rngs: TextClassifier(config, classes=classes, pooling=pooling, rngs=rngs)
    ), prepare


def read_images(examples: Sequence[Any], *, image_size: int, color: bool) -> np.ndarray:
    """Images of files or arrays, brought to one size.

    Args:
      examples: paths, or uint8 arrays ``[height, width]`` or ``[height, width, channels]``.
      image_size: side of the result, in pixels.
      color: three channels instead of grey.

    Returns:
      uint8 ``[n, image_size, image_size, 3 or 1]``.

    Raises:
      UserError: one that cannot be read, or is no image.

    >>> read_images([np.zeros((9, 5), np.uint8)], image_size=4, color=True).shape
    (1, 4, 4, 3)
    """
    found = []
    for example in examples:
        if isinstance(example, (str, Path)):
            try:
                content = Path(example).read_bytes()
                found.append(decode_image(content, image_size=image_size, color=color))
            except (OSError, UserError) as error:
                raise UserError(f"{example} cannot be read as an image ({error}).") from error
            continue
        array = np.asarray(example)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if array.dtype != np.uint8 or array.ndim not in (2, 3):
            raise UserError(
                "an image must be a path or an array [height, width, channels] of uint8; it is "
                f"{array.dtype} {array.shape}."
            )
        file = io.BytesIO()
        Image.fromarray(array).save(file, "PNG")
        found.append(decode_image(file.getvalue(), image_size=image_size, color=color))
    return np.stack(found)


def _image(folder: Path, settings: dict[str, Any], classes: int) -> Built:
    size, color = settings["image_size"], settings["color"]
    network = image_network(settings["network"], image_size=size, color=color)
    network = network.with_numerics(settings)

    def build(rngs: nnx.Rngs) -> nnx.Module:
        return ImageClassifier(
            network.build(rngs), features=network.features, classes=classes, rngs=rngs
        )

    def prepare(examples: Sequence[Any]) -> PyTree:
        x = read_images(examples, image_size=size, color=color)
        return np.asarray(image_input(jnp.asarray(x), color=color))

    return build, prepare


def _speech(folder: Path, settings: dict[str, Any], classes: int) -> Built:
    name, mels = settings["network"], settings["mels"]
    build = speech_classifier(
        name, mels=mels, features=settings["features"], classes=classes, numerics=settings
    )
    length, rate, frame, hop = (settings[key] for key in ("length", "rate", "frame", "hop"))
    frames = settings.get("frames")

    def prepare(examples: Sequence[Any]) -> PyTree:
        audio = read_recordings(examples, length=length, rate=rate)
        # Always as many at once: a program for each number would have to be compiled.
        audio = np.pad(audio, ((0, -len(audio) % _CHUNK), (0, 0)))
        found = [
            spectrograms(
                jnp.asarray(some), mels=mels, frames=frames, rate=rate, frame=frame, hop=hop
            )
            for some in np.split(audio, len(audio) // _CHUNK)
        ]
        return np.asarray(speech_input(jnp.concatenate(found), name))[: len(examples)]

    return build, prepare


_KINDS: dict[str, Callable[[Path, dict[str, Any], int], Built]] = {
    "text": _text,
    "image": _image,
    "speech": _speech,
}
