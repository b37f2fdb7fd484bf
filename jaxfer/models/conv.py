"""The one convolution: every network goes through it, and runs by the faster of two methods."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxfer.models.layers import Factors

Method = Literal["auto", "lax", "patches"]
Padding = Literal["SAME", "VALID", "SYMMETRIC"]

# Windows of up to 3 x 3 are cut one by one, which was measured to be a tenth faster.
_SMALL_WINDOW = 9
# A product whose columns fill whole vectors takes half the time (50 columns on JAX 0.12), which is
# worth up to a third of added zeros.
_VECTOR = 16
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, int] = (1, 1),
    padding: Padding = "SAME",
    method: Method = "auto",
) -> jax.Array:
    r"""Two-dimensional convolution (cross-correlation), by XLA's operator or by patches.

    .. math:: y_{n,i,j,f} = \sum_{a,b,c} x_{n,\; s i + a - p,\; s j + b - p,\; c}\; k_{a,b,c,f}

    ``patches`` cuts the input into overlapping windows by strided slices and multiplies them with
    the flattened kernel. It costs memory (``height * width`` of the kernel times the input), and is
    what keeps its speed where ``lax.conv_general_dilated`` loses it: with per-task kernels (under
    ``vmap`` that becomes a grouped convolution, 20 times slower on a CPU) and inside ``scan``,
    ``map`` or ``while`` on a CPU (12 times slower).

    Args:
      x: images ``[n, height, width, in_features]``.
      kernel: ``[kernel_height, kernel_width, in_features, out_features]``.
      strides: steps of the window, in pixels.
      padding: ``"SAME"`` (zeros, output size ``ceil(size / stride)``), ``"VALID"`` (none), or
        ``"SYMMETRIC"``: half of the window on each side, rounded down, as networks from PyTorch
        have it; with strides that differs from ``"SAME"``, which puts more at the end.
      method: ``"lax"``, ``"patches"``, or ``"auto"``: ``patches`` on a CPU (training steps stand in
        a ``scan`` there), ``lax`` on accelerators. Choose ``"patches"`` for per-task kernels on any
        backend.

    Returns:
      ``[n, out_height, out_width, out_features]``.

    Raises:
      ValueError: if the ranks or the numbers of features do not fit, or ``method`` is unknown.

    >>> x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
    >>> convolution(x, kernel, strides=(2, 2), method="patches")[0, :, :, 0]
    Array([[9., 6.],
           [6., 4.]], dtype=float32)
    """
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(
            "convolution expects x [n, height, width, in_features] and kernel [kernel_height, "
            f"kernel_width, in_features, out_features]; got {x.shape} and {kernel.shape}."
        )
    if method == "auto":
        method = "patches" if jax.default_backend() == "cpu" else "lax"
    if method == "lax":
        pads = window_margins(x, kernel.shape[:2], strides, padding)
        return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=_DIMENSIONS)
    if method != "patches":
        raise ValueError(f"method must be 'auto', 'lax' or 'patches'; got {method!r}.")
    if strides == (1, 1) and kernel.shape[0] * kernel.shape[1] > _SMALL_WINDOW:
        return _product_of_long_windows(x, kernel, padding)
    windows = image_patches(x, (kernel.shape[0], kernel.shape[1]), strides=strides, padding=padding)
    features = kernel.shape[-1]
    columns = _fill_vectors(kernel.reshape(-1, features))
    product = windows.reshape(-1, windows.shape[-1]) @ columns
    return product[:, :features].reshape(*windows.shape[:3], features)


def _product_of_long_windows(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """Windows whose rows are cut once, and whose columns are not cut at all.

    With the rows of each window side by side, a window is a run of numbers in memory, and windows
    that do not overlap are a reshape: those that begin at column 0, ``width``, ``2 * width``...,
    then those that begin at column 1, and so on. Each set is one copy, a fifth of the time of
    cutting single windows of 5 x 5; the whole, forward and backward, takes three quarters.
    """
    height, width, _, features = kernel.shape
    (top, bottom), (left, right) = window_margins(x, (height, width), (1, 1), padding)
    # What made x, a pooling or a normalisation, is not to be computed again for each row.
    x = jnp.pad(lax.optimization_barrier(x), ((0, 0), (top, bottom), (left, right), (0, 0)))
    n, rows, columns = x.shape[0], x.shape[1] - height + 1, x.shape[2] - width + 1
    _check_fit((height, width), x.shape[1:3], (rows, columns))
    x = lax.optimization_barrier(
        jnp.concatenate([x[:, a : a + rows] for a in range(height)], axis=-1)
    )
    # The gradient of a transposed kernel is a product in the order that is half as dear.
    flat = _fill_vectors(kernel.swapaxes(0, 1).reshape(-1, features))
    flat = lax.optimization_barrier(flat.T)
    most = -(-columns // width)
    sets = []
    for first in range(min(width, columns)):
        count = -(-(columns - first) // width)
        windows = x[:, :, first : first + count * width].reshape(-1, flat.shape[1])
        product = lax.dot_general(windows, flat, (((1,), (1,)), ((), ())))
        product = product.reshape(n, rows, count, -1)
        sets.append(jnp.pad(product, ((0, 0), (0, 0), (0, most - count), (0, 0))))
    y = jnp.stack(sets, axis=3).reshape(n, rows, most * len(sets), -1)
    return y[:, :, :columns, :features]


def _fill_vectors(kernel: jax.Array) -> jax.Array:
    """Adds columns of zeros, where they are few and make the product faster."""
    zeros = -kernel.shape[1] % _VECTOR
    return jnp.pad(kernel, ((0, 0), (0, zeros))) if 3 * zeros <= kernel.shape[1] else kernel


def image_patches(
    x: jax.Array,
    size: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    padding: Padding = "SAME",
) -> jax.Array:
    """The windows that a convolution sees, cut by strided slices and concatenated.

    ``lax.conv_general_dilated_patches`` computes the same, as a grouped convolution: slow where it
    is needed.

    Args:
      x: images ``[n, height, width, features]``.
      size: height and width of a window, in pixels.
      strides: steps of the window, in pixels.
      padding: ``"SAME"``, ``"VALID"`` or ``"SYMMETRIC"``.

    Returns:
      ``[n, out_height, out_width, size[0] * size[1] * features]``, ordered as a flattened kernel.

    Raises:
      ValueError: if the window does not fit into the image.

    >>> image_patches(jnp.arange(9.0).reshape(1, 3, 3, 1), (2, 2), padding="VALID").shape
    (1, 2, 2, 4)
    """
    (top, bottom), (left, right) = window_margins(x, size, strides, padding)
    rows = (x.shape[1] + top + bottom - size[0]) // strides[0] + 1
    columns = (x.shape[2] + left + right - size[1]) // strides[1] + 1
    _check_fit(size, (x.shape[1] + top + bottom, x.shape[2] + left + right), (rows, columns))
    margins = ((0, 0), (top, bottom), (left, right), (0, 0))
    last_row, last_column = (rows - 1) * strides[0] + 1, (columns - 1) * strides[1] + 1
    x = jnp.pad(x, margins)
    return jnp.concatenate(
        [
            x[:, a : a + last_row : strides[0], b : b + last_column : strides[1]]
            for a in range(size[0])
            for b in range(size[1])
        ],
        axis=-1,
    )


def _check_fit(size: tuple[int, ...], image: tuple[int, ...], windows: tuple[int, int]) -> None:
    if min(windows) < 1:
        raise ValueError(
            f"a window of {size} does not fit into images of {image}, margins included."
        )


def window_margins(
    x: jax.Array, size: Sequence[int], strides: tuple[int, int], padding: Padding
) -> list[tuple[int, int]]:
    """Zeros before and after, in height and width.

    Args:
      x: images ``[n, height, width, features]``.
      size: height and width of the window.
      strides: steps of the window.
      padding: see :func:`convolution`.

    Returns:
      Two pairs.

    >>> window_margins(jnp.zeros((1, 6, 6, 1)), (3, 3), (2, 2), "SAME")
    [(0, 1), (0, 1)]
    """
    if padding == "SYMMETRIC":
        return [(side // 2, side // 2) for side in size]
    return [(int(a), int(b)) for a, b in lax.padtype_to_pads(x.shape[1:3], size, strides, padding)]


class Conv(nnx.Module):
    """A convolution layer, ``convolution(x, kernel) + bias``.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: height and width of the window, in pixels.
      strides: steps of the window, in pixels.
      padding: ``"SAME"``, ``"VALID"`` or ``"SYMMETRIC"``.
      use_bias: whether to add a bias; a normalisation that follows makes it superfluous.
      method: how it is computed, see :func:`convolution`.
      kernel_init: initialiser of the kernel.
      rngs: source of the initial values.

    Returns:
      A module that maps ``[n, height, width, in_features]`` to ``[n, out_height, out_width,
      out_features]``.

    >>> Conv(1, 8, kernel_size=(3, 3), strides=(2, 2), rngs=nnx.Rngs(0))(
    ...     jnp.zeros((5, 28, 28, 1))
    ... ).shape
    (5, 14, 14, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        kernel_size: tuple[int, int] = (3, 3),
        strides: tuple[int, int] = (1, 1),
        padding: Padding = "SAME",
        use_bias: bool = True,
        method: Method = "auto",
        kernel_init: Callable[..., jax.Array] = nnx.initializers.lecun_normal(),
        rngs: nnx.Rngs,
    ) -> None:
        self.kernel = nnx.Param(
            kernel_init(rngs.params(), (*kernel_size, in_features, out_features))
        )
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None
        self.low_rank: Factors | None = nnx.data(None)
        self.strides, self.padding, self.method = strides, padding, method

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self._convolve(x, self.kernel[...])
        if self.low_rank is not None:
            thin = self._convolve(x, self.low_rank.down[...])
            y = y + self.low_rank.scale * (thin @ self.low_rank.up[...])
        return y if self.bias is None else y + self.bias[...]

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolution(
            x, kernel, strides=self.strides, padding=self.padding, method=self.method
        )


class PatchConv(Conv):
    """A :class:`Conv` that always multiplies patches, for weights that a learner adapts per task.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      **options: ``kernel_size``, ``strides``, ``padding``, ``use_bias``, ``kernel_init`` and
        ``rngs`` of :class:`Conv`.

    Returns:
      A module that maps ``[n, height, width, in_features]`` to ``[n, out_height, out_width,
      out_features]``.

    >>> PatchConv(1, 8, rngs=nnx.Rngs(0))(jnp.zeros((5, 28, 28, 1))).shape
    (5, 28, 28, 8)
    """

    def __init__(self, in_features: int, out_features: int, **options: Any) -> None:
        super().__init__(in_features, out_features, method="patches", **options)
