"""Is there a shift between two sets of data, how large is it, and which examples show it?

A permutation test of MMD, the proxy A-distance and the witness function of MMD are computed for
two folders of images, or two tables of features, and said in one sentence.

    python -m jaxfer.experiments.shift
    python -m jaxfer.experiments.shift --blur 0 --out runs/no_shift
    python -m jaxfer.experiments.shift --source photos/amazon --target photos/webcam --color
    python -m jaxfer.experiments.shift --source old.csv --target new.csv
    python -m jaxfer.experiments.shift --source all.npz --array x_train --target-array x_test

The first compares scikit-learn's digits with a blurred half of them; expect "Strong shift",
p = 0.001 and a proxy A-distance of 1.68, in half a minute. The second leaves the blur out; expect
"No shift found". experiments/shift/README.md has what was measured. The run folder gets
config.json, summary.json, witness.png and null_distribution.png.
"""

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro

from jaxfer.data import (
    ImageFolder,
    Table,
    decode_image,
    read_image_folder,
    read_table,
    sharp_and_blurred_digits,
)
from jaxfer.data.tables import BINARY, TEXT
from jaxfer.experiments.command_line import CommonOptions, check_at_least, main
from jaxfer.report import null_distribution, table, witness_features, witness_images
from jaxfer.report.null import QUANTILE
from jaxfer.training.run_folder import hardware, open_run_folder, versions, write_summary
from jaxfer.transferability import Diagnosis, diagnose
from jaxfer.transferability.diagnose import (
    FOLDS,
    LEAST_PERMUTATIONS,
    MAX_POINTS,
    is_significant,
)
from jaxfer.typing import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CommonOptions):
    """The settings of a comparison; without any, digits are compared with blurred digits."""

    source: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None
    """A folder of images, however nested, or an .npz, .npy, .csv or .tsv file with a row for each
    point. A relative path is looked for here, then in --data-dir, then in JAXFER_DATA_DIR."""

    target: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None
    """What to compare it with; by default the file of --source, for two arrays of one .npz."""

    array: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Which array of an .npz that holds several."""

    target_array: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Which array for the target; by default --array."""

    image_size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 32
    """Images are cut to the square in their middle and resized to this side; their pixels, in
    [0, 1], are the features."""

    color: bool = False
    """Compare colours, three features a pixel, instead of grey."""

    skip_bad: bool = False
    """Leave out images that cannot be read, instead of stopping at them."""

    raw: bool = False
    """Take the features of a table as they are. By default each is standardised: less its mean,
    over its standard deviation, both of all points of the two sides together."""

    permutations: Annotated[int, tyro.conf.arg(metavar="N")] = 999
    """Random divisions that the observed one is compared with; the least possible p-value is one in
    N + 1."""

    folds: Annotated[int, tyro.conf.arg(metavar="N")] = FOLDS
    """Folds of the cross-validated classifier; as many as the smaller side has points at most."""

    max_points: Annotated[int, tyro.conf.arg(metavar="N")] = MAX_POINTS
    """Of a larger side so many points are drawn at random."""

    top: Annotated[int, tyro.conf.arg(metavar="N")] = 8
    """How many images of each side are shown."""

    blur: Annotated[float, tyro.conf.arg(metavar="SIGMA")] = 0.5
    """Of the built-in digits: the blur of the target, in pixels of 8 x 8; 0 for no shift at all."""


SMOKE = {"permutations": 19, "max_points": 100}
THUMBNAIL = 160  # pixels, of a photograph in the picture


class Side(NamedTuple):
    """One of the two sets of data.

    Attributes:
      name: short, for tables and pictures.
      features: float32 ``[n, d]``.
      shape: of a point before it was flattened.
      columns, points: names of the features and of the points; empty where they have none.
      origin, checksum, skipped: as the reader of the data says.
      draw: gives images ``[k, height, width, ...]`` of points by index; None for what is no image.
      ink: the largest value of a grey image is black.
    """

    name: str
    features: np.ndarray
    shape: tuple[int, ...]
    columns: tuple[str, ...]
    points: tuple[str, ...]
    origin: str
    checksum: str
    skipped: tuple[tuple[str, str], ...] = ()
    draw: Callable[[Sequence[int]], np.ndarray] | None = None
    ink: bool = False


def read_sides(config: Config) -> tuple[Side, Side]:
    """Reads what is to be compared, and sees to it that it can be."""
    if config.source is None:
        for option in ("target", "array", "target_array"):
            if getattr(config, option) is not None:
                flag = f"--{option.replace('_', '-')}"
                raise UserError(f"{flag} is given and --source is not; give both.")
        return _digits(config)
    array = config.target_array or config.array
    if config.target is None and array == config.array:
        raise UserError("--source is given and --target is not; give both.")
    given = (config.source, config.target or config.source)
    paths = (_locate("--source", given[0], config), _locate("--target", given[1], config))
    names = _names(paths)
    if config.target_array is None and paths[1].suffix.lower() != ".npz":
        array = None  # --array is meant for the source
    if config.target is None or paths[0] == paths[1]:
        if array == config.array:
            raise UserError(f"--source and --target are both {paths[0]}; name two different ones.")
        names = _short(str(config.array)), _short(str(array))
    source = _read("--source", paths[0], names[0], config, config.array)
    target = _read("--target", paths[1], names[1], config, array)
    for option, side in (("--source", source), ("--target", target)):
        if len(side.features) < 2:
            raise UserError(
                f"{option} holds {len(side.features)} point; at least 2 are needed to compare: "
                f"{side.origin}"
            )
    if source.features.shape[1] != target.features.shape[1]:
        raise UserError(
            "--source and --target must have the same number of features; "
            f"{source.name} has {_features(source)}, {target.name} has {_features(target)}."
        )
    if source.columns and target.columns and source.columns != target.columns:
        a, b = next((a, b) for a, b in zip(source.columns, target.columns, strict=True) if a != b)
        raise UserError(
            "--source and --target must have the same columns in the same order; where "
            f"{source.name} has {a!r}, {target.name} has {b!r}."
        )
    if source.draw is None or target.draw is None:
        source, target = _centred(source, target, scale=not config.raw)
    with np.errstate(over="ignore"):
        source, target = (
            side._replace(features=side.features.astype(np.float32)) for side in (source, target)
        )
    if not (np.isfinite(source.features).all() and np.isfinite(target.features).all()):
        raise UserError(
            "--source and --target hold numbers too large to be compared; scale them: "
            f"{source.origin} {target.origin}"
        )
    return source, target


def _digits(config: Config) -> tuple[Side, Side]:
    halves = sharp_and_blurred_digits(seed=config.seed, sigma=config.blur)
    names = ("sharp", "blurred") if config.blur else ("half", "other half")

    def side(name: str, digits: Any) -> Side:
        return Side(
            name=name,
            features=digits.images.reshape(len(digits.images), -1),
            shape=digits.images.shape[1:],
            columns=(),
            points=(),
            origin=digits.origin,
            checksum=digits.checksum,
            draw=lambda chosen: digits.images[np.asarray(chosen)],
            ink=True,
        )

    return side(names[0], halves[0]), side(names[1], halves[1])


def _locate(option: str, given: str, config: Config) -> Path:
    path = Path(given).expanduser()
    named = os.environ.get("JAXFER_DATA_DIR")
    folders = [config.data_dir, Path(named) if named else None]
    places = [path, *(folder.expanduser() / path for folder in folders if folder is not None)]
    for place in places:
        if place.exists():
            return place
    beside = "".join(f", nor is {place}" for place in places[1:] if place != path)
    raise UserError(
        f"{option} is {given}, which does not exist{beside}; give a folder of images or a table of "
        "features."
    )


def _names(paths: Sequence[Path]) -> tuple[str, str]:
    """The shortest ends of both paths that tell them apart."""
    real = [path.resolve() for path in paths]
    for parts in ([path.with_suffix("").parts for path in real], [path.parts for path in real]):
        for length in range(1, max(map(len, parts)) + 1):
            first, second = ("/".join(part[-length:]) for part in parts)
            if first != second:
                return _short(first), _short(second)
    return _short(real[0].name), _short(real[1].name)


def _short(name: str) -> str:
    """What fits a picture."""
    return name if len(name) <= 20 else f"{name[:9]}…{name[-10:]}"


def _read(option: str, path: Path, name: str, config: Config, array: str | None) -> Side:
    if path.is_dir():
        if array is not None:
            raise UserError(f"--array is for .npz files, and {option} {path} is a folder.")
        images = read_image_folder(
            path, image_size=config.image_size, color=config.color, skip_bad=config.skip_bad
        )
        return _of_images(images, path, name)
    if path.suffix.lower() not in BINARY + TEXT:
        raise UserError(
            f"{option} is {path}, which is neither a folder of images nor a table ending in "
            f"{', '.join(BINARY + TEXT)}."
        )
    return _of_table(read_table(path, array=array), path, name)


def _of_images(found: ImageFolder, folder: Path, name: str) -> Side:
    def draw(chosen: Sequence[int]) -> np.ndarray:
        """The photographs, larger than they were compared."""
        files = [(folder / found.names[i]).read_bytes() for i in chosen]
        return np.stack([decode_image(f, image_size=THUMBNAIL, color=True) for f in files])

    return Side(
        name=name,
        features=found.images.reshape(len(found.images), -1) / np.float32(255),
        shape=found.images.shape[1:],
        columns=(),
        points=found.names,
        origin=found.origin,
        checksum=found.checksum,
        skipped=found.skipped,
        draw=draw,
    )


def _of_table(found: Table, path: Path, name: str) -> Side:
    values = found.values
    # Bytes, and fractions with colours, in the form of images are images.
    colours = values.ndim == 4 and values.shape[-1] in (1, 3)
    if values.dtype == np.uint8:
        images, unit = colours or values.ndim == 3, 255
    else:
        images, unit = colours and values.min() >= 0 and values.max() <= 1, 1
    features = values.reshape(len(values), -1).astype(np.float64)
    if images:
        features /= unit
    return Side(
        name=name,
        features=features,
        shape=values.shape[1:],
        columns=found.columns,
        points=(),
        origin=found.origin,
        checksum=found.checksum,
        draw=(lambda chosen: values[np.asarray(chosen)]) if images else None,
    )


def _centred(source: Side, target: Side, *, scale: bool) -> tuple[Side, Side]:
    """Moves both to their common mean, which changes nothing but rounding, and scales them.

    The mean and the scale are those of both sides pooled, so that the test remains valid.
    """
    both = np.concatenate([source.features, target.features]).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        both -= both.mean(0)
        spread = both.std(0)
        both /= np.where(scale & (spread > 0), spread, 1)
        both[:, ~np.isfinite(spread)] = np.nan
    n = len(source.features)
    return source._replace(features=both[:n]), target._replace(features=both[n:])


def _features(side: Side) -> str:
    count = side.features.shape[1]
    return f"{count:,}" + (f" ({' x '.join(map(str, side.shape))})" if len(side.shape) > 1 else "")


def run(config: Config) -> dict[str, Any]:
    """Reads both sides, compares them and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, the data or the run folder is not as it must be.
    """
    check_at_least(
        config, image_size=1, permutations=LEAST_PERMUTATIONS, folds=2, max_points=2, top=1, blur=0
    )
    began = time.monotonic()
    out = config.out or Path("runs/shift")
    with open_run_folder(out, config, resumable=False) as folder:
        source, target = sides = read_sides(config)
        for role, side in zip(("source", "target"), sides, strict=True):
            print(f"{role}, {side.name}: {side.origin}", flush=True)
        sizes = [min(len(side.features), config.max_points) for side in sides]
        found = diagnose(
            source.features,
            target.features,
            key=jax.random.key(config.seed),
            permutations=config.permutations,
            top=config.top,
            folds=min(config.folds, *sizes),
            max_points=config.max_points,
        )
        found = jax.device_get(found)
        print(f"\n{found.verdict}\n\n{results_table(found, sides)}\n", flush=True)
        if not found.classifier.converged.all():
            print("Warning: the classifier did not converge; its distance is a lower estimate.\n")
        draw(found, sides, folder.path, config)
        summary = {
            "verdict": found.verdict,
            "test": results(found, sides),
            "data": {
                "source": f"{source.name} and {target.name}",
                "origin": f"{source.origin} {target.origin}",
                "checksum": hashlib.sha256(
                    f"{source.checksum} {target.checksum}".encode()
                ).hexdigest(),
                "sides": [
                    {
                        "role": role,
                        "name": side.name,
                        "origin": side.origin,
                        "checksum": side.checksum,
                        "points": len(side.features),
                        "looked_at": size,
                        "features": side.features.shape[1],
                        "skipped": [f"{name}: {why}" for name, why in side.skipped],
                    }
                    for role, side, size in zip(("source", "target"), sides, sizes, strict=True)
                ],
            },
            "config": config,
            "versions": versions(),
            "hardware": hardware(),
            "seconds": round(time.monotonic() - began, 1),
        }
        write_summary(folder, summary)
        print(f"In {folder.path}: summary.json, witness.png, null_distribution.png")
    return summary


def results(found: Diagnosis, sides: tuple[Side, Side]) -> dict[str, Any]:
    """The numbers of a diagnosis, for ``summary.json``."""
    classifier, witness = found.classifier, found.witness
    return {
        "p_value": found.p_value,
        "permutations": len(found.test.null),
        "mmd_squared": found.mmd_squared,
        "null_quantile_95": np.quantile(found.test.null, QUANTILE),
        "proxy_a_distance": found.proxy_a_distance,
        "proxy_a_distance_of_folds": _distances_of_folds(found),
        "held_out_error": classifier.error,
        "classifier_converged": classifier.converged.all(),
        "most_unlike_the_other_side": {
            role: [
                {
                    "index": index,
                    "name": side.points[index] if side.points else None,
                    "witness": values[index],
                }
                for index in examples.tolist()
            ]
            for role, side, examples, values in (
                ("source", sides[0], witness.source_examples, witness.source),
                ("target", sides[1], witness.target_examples, witness.target),
            )
        },
    }


def results_table(found: Diagnosis, sides: tuple[Side, Side]) -> str:
    """The same for a reader, in one table."""
    folds = _distances_of_folds(found)
    quantile = float(np.quantile(found.test.null, QUANTILE))
    looked_at = (len(found.source_points), len(found.target_points))
    points = [
        f"{size:,}" + f" of {len(side.features):,}" * (size < len(side.features)) + f" {side.name}"
        for size, side in zip(looked_at, sides, strict=True)
    ]
    shape = " x ".join(map(str, sides[0].shape)) if len(sides[0].shape) > 1 else ""
    rows = [
        ("p-value", f"{float(found.p_value):.2g}", f"{len(found.test.null):,} permutations"),
        (
            "MMD squared",
            f"{float(found.mmd_squared):.3g}",
            f"without a shift 95% lie below {quantile:.3g}",
        ),
        (
            "proxy A-distance",
            f"{float(found.proxy_a_distance):.2f}",
            f"{folds.min():.2f} to {folds.max():.2f} in {len(folds)} folds",
        ),
        ("points", f"{sum(looked_at):,}", " and ".join(points)),
        ("features", f"{sides[0].features.shape[1]:,}", shape),
    ]
    return table(("", "result", ""), rows)


def _distances_of_folds(found: Diagnosis) -> np.ndarray:
    return np.clip(2 * (1 - 2 * found.classifier.fold_errors), 0, 2)


def draw(found: Diagnosis, sides: tuple[Side, Side], path: Path, config: Config) -> None:
    """The null distribution, and the images or the features in which the sides differ."""
    source, target = sides
    witness, names = found.witness, (source.name, target.name)
    null_distribution(
        found.test.null,
        float(found.mmd_squared),
        float(found.p_value),
        path / "null_distribution.png",
        title=f"{names[0]} and {names[1]}: would MMD be as large without a shift?",
    )
    title = f"Where {names[0]} and {names[1]} differ"
    if not is_significant(found.p_value):
        title += " most, which may be chance"
    if source.draw is not None and target.draw is not None:
        size = " x ".join(map(str, source.shape[:2]))
        colours = "in colour" if source.shape[2:] == (3,) else "in grey"
        witness_images(
            source.draw(witness.source_examples.tolist()),
            witness.source[witness.source_examples],
            target.draw(witness.target_examples.tolist()),
            witness.target[witness.target_examples],
            path / "witness.png",
            source_mean=source.features.mean(0).reshape(source.shape),
            target_mean=target.features.mean(0).reshape(target.shape),
            names=names,
            ink=source.ink,
            title=title,
            note=f"Compared at {size} pixels {colours}. Below each image its witness value: how "
            f"much denser {names[0]} is there than {names[1]}.",
        )
        return
    both = np.concatenate([source.features, target.features])
    moved = target.features.mean(0) - source.features.mean(0)
    spread = both.std(0)
    witness_features(
        witness.source,
        witness.target,
        np.divide(moved, spread, out=np.zeros_like(moved), where=spread > 0),
        path / "witness.png",
        feature_names=source.columns or target.columns,
        names=names,
        title=title,
    )


if __name__ == "__main__":
    main(Config, run, smoke=SMOKE)
