"""Published weights into a network's parameters: all of them, each in its place, or none."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import jax
import numpy as np

from jaxfer.adapters import path_name
from jaxfer.typing import PyTree, UserError


class Place(NamedTuple):
    """Where a parameter stands in a file.

    Attributes:
      name: of the tensor.
      take: makes the parameter of it: transposes, cuts out, reshapes.

    >>> Place("fc.weight", np.transpose).take(np.ones((2, 3))).shape
    (3, 2)
    """

    name: str
    take: Callable[[np.ndarray], np.ndarray] = np.asarray


class Spelling(NamedTuple):
    """How one library names the tensors of a kind of network.

    Attributes:
      library: its name.
      place: from a parameter's path, joined by ``/``, to its :class:`Place`; ``None`` for a
        parameter that this spelling does not know.
      prefixes: what may stand before every name, tried in turn; names without it are compared with
        ``ignored`` alone.
      ignored: patterns of tensors, prefix taken off, that the network has no use for.

    >>> Spelling("own", lambda path: Place(path.replace("/", "."))).place("head/bias").name
    'head.bias'
    """

    library: str
    place: Callable[[str], Place | None]
    prefixes: tuple[str, ...] = ("",)
    ignored: tuple[str, ...] = ()


class LoadReport(NamedTuple):
    """What went where.

    Attributes:
      library: whose spelling the file has.
      filled: path of each parameter that was filled, tensor that it came from, and its shape.
      fresh: paths of parameters that keep their initial values.
      ignored: tensors of the file that the network has no use for.

    >>> report = LoadReport("timm", (("head/bias", "fc.bias", (10,)),), (), ("fc.extra",))
    >>> print(report.table())
    spelling of timm: 1 filled, 0 fresh, 1 ignored
    head/bias  <- fc.bias  [10]
    ignored    -  fc.extra
    """

    library: str
    filled: tuple[tuple[str, str, tuple[int, ...]], ...]
    fresh: tuple[str, ...]
    ignored: tuple[str, ...]

    def table(self) -> str:
        """All of it as lines of text."""
        rows = [(path, "<-", f"{name}  {list(shape)}") for path, name, shape in self.filled]
        rows += [(path, "", "fresh") for path in self.fresh]
        rows += [("ignored", "-", name) for name in self.ignored]
        width = max((len(path) for path, *_ in rows), default=0)
        counts = f"{len(self.filled)} filled, {len(self.fresh)} fresh, {len(self.ignored)} ignored"
        lines = [f"{path:<{width}}  {arrow:<2} {rest}" for path, arrow, rest in rows]
        return "\n".join([f"spelling of {self.library}: {counts}", *lines])


def own_spelling(path: str) -> Place:
    """Names as :func:`tensors_of` writes them: the path, joined by full stops.

    Args:
      path: joined by ``/``.

    Returns:
      Its place.

    >>> own_spelling("block0/up/kernel").name
    'block0.up.kernel'
    """
    return Place(path.replace("/", "."))


OWN = Spelling("jaxfer", own_spelling)


def tensors_of(*trees: PyTree) -> dict[str, np.ndarray]:
    """Parameters and state as tensors by name, as a file holds them.

    Args:
      *trees: nested dicts of arrays.

    Returns:
      Arrays by path, joined by full stops.

    Raises:
      ValueError: for a name that stands in two of the trees.

    >>> sorted(tensors_of({"norm": {"bias": np.zeros(2)}}, {"norm": {"mean": np.zeros(2)}}))
    ['norm.bias', 'norm.mean']
    """
    tensors: dict[str, np.ndarray] = {}
    for tree in trees:
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            name = own_spelling(path_name(path)).name
            if name in tensors:
                raise ValueError(f"{name} stands in two of the trees.")
            tensors[name] = np.asarray(leaf)
    return tensors


def load_tensors(
    tensors: Mapping[str, np.ndarray],
    params: PyTree,
    state: PyTree,
    spellings: Sequence[Spelling],
    *,
    fresh: Sequence[str] = (),
    ignored: Sequence[str] = (),
    origin: str = "the file",
) -> tuple[PyTree, PyTree, LoadReport]:
    """Fills every parameter from the tensors of a file, strictly.

    Of the spellings and their prefixes that one is taken which finds the most parameters. Then all
    must fit: every parameter filled unless it is ``fresh``, every tensor used unless it is ignored,
    every shape equal, every number finite. Otherwise nothing is filled.

    Args:
      tensors: arrays by name, as :func:`read_tensors` gives them.
      params, state: nested dicts of arrays: what the network's ``init`` gives.
      spellings: how the file may name them. :data:`OWN` is always tried too.
      fresh: patterns of paths, as for :func:`jaxfer.adapters.by_pattern`, that keep their initial
        values: ``"head/*"``. Tensors of the file that belong to them are ignored.
      ignored: patterns of further tensors that may be left over.
      origin: what messages name.

    Returns:
      Parameters and state of the same structure and types, and a :class:`LoadReport`.

    Raises:
      UserError: with all disagreements, where there is one.

    >>> start = {"head": {"bias": np.zeros(2, np.float32)}}
    >>> params, _, report = load_tensors({"head.bias": np.ones(2, np.float16)}, start, {}, [])
    >>> params["head"]["bias"], report.library
    (array([1., 1.], dtype=float32), 'jaxfer')
    """
    wanted = {
        path_name(path): leaf
        for tree in (params, state)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    spelling, prefix = _best_spelling(tensors, wanted, [*spellings, OWN])
    new: dict[str, np.ndarray] = {}
    used: set[str] = set()
    filled, kept, wrong = [], [], []
    for path, leaf in wanted.items():
        place = spelling.place(path)
        name = "" if place is None else prefix + place.name
        if _matches(path, fresh):
            kept.append(path)
            used |= {name} if name else set()
            continue
        if place is None or name not in tensors:
            wrong.append(f"{path} is not there (as {name or 'any tensor'})")
            continue
        used.add(name)
        try:
            value = place.take(tensors[name])
        except (ValueError, IndexError) as error:
            wrong.append(f"{name} has the shape {tensors[name].shape} ({error})")
            continue
        if value.shape != leaf.shape:
            wrong.append(f"{name} gives {path} {value.shape} where {tuple(leaf.shape)} belongs")
        elif value.dtype.kind not in "fV" and not _is_float(value.dtype):
            wrong.append(f"{name} is of {value.dtype}, no floating point")
        else:
            with np.errstate(over="ignore"):  # what is too large for the type is infinite then
                value = value.astype(leaf.dtype)
            if not np.isfinite(value).all():
                wrong.append(f"{name} holds NaN or infinity")
            new[path] = value
            filled.append((path, name, tuple(leaf.shape)))
    left = sorted(set(tensors) - used)
    # Several parameters may be cut out of one tensor; a fresh one's tensor is left over too.
    bare = {name: name.removeprefix(prefix) for name in left}
    passed = [n for n in left if _matches(bare[n], [*spelling.ignored, *ignored])]
    passed += sorted((used & set(tensors)) - {name for _, name, _ in filled} - _named(wrong, used))
    wrong += [f"{name} is of no use to the network" for name in left if name not in passed]
    if wrong:
        shown = "; ".join(wrong[:20])
        more = f"; and {len(wrong) - 20} more" if len(wrong) > 20 else ""
        raise UserError(
            f"{origin} does not fit the network in the spelling of {spelling.library}, which comes "
            f"nearest: {shown}{more}. Nothing was loaded."
        )

    def fill(tree: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: new.get(path_name(path), leaf), tree
        )

    report = LoadReport(spelling.library, tuple(filled), tuple(kept), tuple(passed))
    return fill(params), fill(state), report


def _best_spelling(
    tensors: Mapping[str, np.ndarray], wanted: Mapping[str, object], spellings: Sequence[Spelling]
) -> tuple[Spelling, str]:
    best, most = (spellings[0], spellings[0].prefixes[0]), -1
    for spelling in spellings:
        places = [spelling.place(path) for path in wanted]
        for prefix in spelling.prefixes:
            found = sum(place is not None and prefix + place.name in tensors for place in places)
            if found > most:
                best, most = (spelling, prefix), found
    return best


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_float(dtype: np.dtype) -> bool:
    return bool(jax.numpy.issubdtype(dtype, jax.numpy.floating))


def _named(wrong: Sequence[str], used: set[str]) -> set[str]:
    """Tensors that a disagreement is about already."""
    return {name for name in used if any(line.startswith(f"{name} ") for line in wrong)}
