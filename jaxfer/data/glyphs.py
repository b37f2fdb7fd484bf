"""Alphabets that nobody writes: characters from random stroke programs, when there is no data."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxfer.data.characters import SIDE, CharacterSet, Drawings, assemble

# Strokes along a chord from (0, 0) to (1, 0), each one or two cubic Bezier curves of four control
# points; the second coordinate is multiplied by a random bend.
_STROKES = {
    "line": [[(0, 0), (1 / 3, 0), (2 / 3, 0), (1, 0)]],
    "arc": [[(0, 0), (0.1, 0.8), (0.9, 0.8), (1, 0)]],
    "wave": [[(0, 0), (0.35, 0.9), (0.65, -0.9), (1, 0)]],
    "hook": [[(0, 0), (0.8, 0), (1.3, 0.1), (0.9, 0.5)]],
    "loop": [[(0, 0), (1.3, 0.9), (1.3, -0.9), (0, 0)]],
    "ring": [[(0, 0), (0, 0.6), (0.9, 0.6), (0.9, 0)], [(0.9, 0), (0.9, -0.6), (0, -0.6), (0, 0)]],
    "corner": [
        [(0, 0), (0.2, 0.2), (0.4, 0.4), (0.6, 0.6)],
        [(0.6, 0.6), (0.73, 0.4), (0.87, 0.2), (1, 0)],
    ],
    "dot": [[(0, 0), (0.02, 0.02), (0.04, 0.02), (0.06, 0)]],
}
_COMMON = np.array([4, 3, 1.5, 2, 0.7, 0.7, 3, 0.7])  # how often alphabets use them
_PENS = np.array(  # [pens, 4, 4]
    [
        [[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 1, 1], [0, 0, 1, 0]],
        [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]],
        [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]],
    ],
    bool,
)
_POINTS = 128  # on a curve, so near to each other that the pen leaves no gap


def draw_glyphs(
    *,
    alphabets: int = 30,
    characters: int = 20,
    drawings: int = 20,
    image_size: int = 28,
    seed: int = 0,
) -> CharacterSet:
    """Draws alphabets of invented characters, in the form of Omniglot.

    A character is a program of two to five strokes, from straight lines to loops, that begin where
    the last one ended, on it, or elsewhere. An alphabet has a style: which strokes it prefers, how
    many, how often they touch, how far they bend, how wide it is. A drawing warps the program a
    little, tilts, scales and shifts it, moves and bends each stroke, and takes one of three pens.
    Of the alphabets, the first three fifths are the background. There is nothing but correctly
    rounded arithmetic in it: a seed gives the same pixels on every machine.

    Args:
      alphabets: at least 2.
      characters: of each alphabet.
      drawings: of each character.
      image_size: side of the images in pixels.
      seed: of all that is random.

    Returns:
      ``alphabets * characters`` classes, drawn at 105 x 105 and resized as Omniglot is.

    Raises:
      ValueError: fewer than 2 alphabets, or no characters or drawings.

    >>> draw_glyphs(alphabets=2, characters=3, drawings=4).images.shape
    (6, 4, 28, 28)
    """
    if alphabets < 2 or characters < 1 or drawings < 1:
        raise ValueError(
            "alphabets must be at least 2, characters and drawings at least 1; got "
            f"{alphabets}, {characters} and {drawings}."
        )
    background: dict[tuple[str, int], Sequence[bytes]] = {}
    evaluation: dict[tuple[str, int], Sequence[bytes]] = {}
    for alphabet in range(alphabets):
        # One generator each: more alphabets leave the first ones as they are.
        rng = np.random.Generator(np.random.PCG64([seed, alphabet]))
        half = background if alphabet < 3 * alphabets // 5 else evaluation
        half.update(_alphabet(rng, f"Glyphs{alphabet + 1:02d}", characters, drawings))
    return assemble(
        background,
        evaluation,
        image_size=image_size,
        source="glyphs",
        origin=f"Glyphs that jaxfer invented with seed {seed}, NOT Omniglot.",
    )


class _Style(NamedTuple):
    """What the characters of an alphabet have in common."""

    preference: np.ndarray  # cumulative, over _STROKES
    strokes: tuple[float, float]  # fewest and most
    touch: float  # probability that a stroke begins on the last one
    bend: float
    box: np.ndarray  # [2], relative width and height
    lattice: int  # positions in each direction where strokes like to begin and end


def _style(rng: np.random.Generator) -> _Style:
    preference = np.cumsum(_COMMON * rng.random(len(_STROKES)) ** 2)
    fewest = 2.2 + rng.random()
    return _Style(
        preference=preference / preference[-1],
        strokes=(fewest, fewest + 1.2 + 2 * rng.random()),
        touch=0.2 + 0.6 * rng.random(),
        bend=0.4 + 0.6 * rng.random(),
        box=0.7 + 0.3 * rng.random(2),
        lattice=int(3 + 2 * rng.random()),
    )


def _alphabet(rng: np.random.Generator, name: str, characters: int, drawings: int) -> Drawings:
    style = _style(rng)
    programs = [_program(rng, style) for _ in range(characters)]
    strokes = [stroke for program in programs for stroke in program]
    curves = np.concatenate(strokes)
    stroke = np.repeat(np.arange(len(strokes)), [len(stroke) for stroke in strokes])
    owner = np.repeat(np.arange(characters), [len(program) for program in programs])[stroke]
    ink = _rasterise(rng, _vary(rng, curves, stroke, owner, drawings), owner)
    return {
        (name, i + 1): sorted(np.packbits(drawing, axis=-1).tobytes() for drawing in ink[i])
        for i in range(characters)
    }


def _program(rng: np.random.Generator, style: _Style) -> list[np.ndarray]:
    """A character: strokes of control points ``[curves, 4, 2]`` that fill a unit box around 0."""
    strokes: list[np.ndarray] = []
    fewest, most = style.strokes
    for _ in range(int(fewest + (most - fewest) * rng.random())):
        start, beginning = _anchor(rng, style), rng.random()
        if strokes and beginning < style.touch:
            last = strokes[-1][-1]
            middle = (last[0] + 3 * last[1] + 3 * last[2] + last[3]) / 8
            start = last[3] if beginning < style.touch / 2 else middle
        chord = np.zeros(2)
        while chord[0] ** 2 + chord[1] ** 2 < 0.15:
            chord = _anchor(rng, style) - start
        kind = int(np.searchsorted(style.preference, rng.random()))
        bend = style.bend * (0.6 + 0.8 * rng.random()) * (1 if rng.random() < 0.5 else -1)
        across = bend * np.array([-chord[1], chord[0]])
        shape = np.array(list(_STROKES.values())[kind])
        strokes.append(start + shape[..., :1] * chord + shape[..., 1:] * across)
    points = _bezier(np.concatenate(strokes), 9)
    low, high = points.min((0, 1)), points.max((0, 1))
    return [(stroke - (low + high) / 2) / (high - low).max() for stroke in strokes]


def _anchor(rng: np.random.Generator, style: _Style) -> np.ndarray:
    place = np.floor(style.lattice * rng.random(2)) / (style.lattice - 1)
    return style.box * (place + 0.1 * (rng.random(2) - 0.5))


def _vary(
    rng: np.random.Generator,
    curves: np.ndarray,
    stroke: np.ndarray,
    owner: np.ndarray,
    drawings: int,
) -> np.ndarray:
    """The curves as each drawing has them, ``[drawings, curves, 4, 2]`` in pixels."""

    def jitter(width: float, *shape: int) -> np.ndarray:
        return 2 * width * (rng.random((drawings, *shape)) - 0.5)

    characters = owner[-1] + 1
    x, y = curves[..., :1], curves[..., 1:]
    warp = jitter(0.4, 3, characters, 1, 2)[:, :, owner]
    points = curves + warp[:, 0] * (x * x) + warp[:, 1] * (x * y) + warp[:, 2] * (y * y)
    points[:, :, 1:3] += jitter(0.1, len(curves), 2, 2)
    points += jitter(0.05, stroke[-1] + 1, 1, 2)[:, stroke]
    tilt = jitter(0.22, 2, characters, 1, 2)[:, :, owner]
    points = points + points[..., :1] * tilt[:, 0] + points[..., 1:] * tilt[:, 1]
    size = 60 + jitter(10, characters, 1, 1)[:, owner]
    return points * size + jitter(7, characters, 1, 2)[:, owner] + SIDE / 2


def _rasterise(rng: np.random.Generator, curves: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Draws curves ``[drawings, curves, 4, 2]`` as bool ``[characters, drawings, 105, 105]``."""
    points = np.clip(_bezier(curves, _POINTS), 2, SIDE - 2).astype(np.int32)
    characters, drawings = owner[-1] + 1, len(curves)
    pen = (len(_PENS) * rng.random((drawings, characters))).astype(np.int32)[:, owner]
    ink = np.zeros((characters, drawings, SIDE, SIDE), bool)
    for dy, dx in np.ndindex(4, 4):
        drawing, curve = np.nonzero(_PENS[pen, dy, dx])
        y, x = points[drawing, curve, :, 1] + dy - 2, points[drawing, curve, :, 0] + dx - 2
        ink[owner[curve, None], drawing[:, None], y, x] = True
    return ink


def _bezier(curves: np.ndarray, points: int) -> np.ndarray:
    """Points on cubic curves, ``[..., 4, 2]`` to ``[..., points, 2]``."""
    t = np.linspace(0, 1, points)[:, None]
    s = 1 - t
    p0, p1, p2, p3 = (curves[..., i, None, :] for i in range(4))
    return s * s * s * p0 + 3 * s * s * t * p1 + 3 * s * t * t * p2 + t * t * t * p3
