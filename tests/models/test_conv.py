"""The one convolution: both methods, against each other and against a loop over pixels."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import Conv, PatchConv, convolution, image_patches


def reference(x, kernel, strides, padding):
    """Pixel by pixel; where SAME must pad unevenly, the larger half comes after."""
    before, sizes = [], []
    for size, window, stride in zip(x.shape[1:3], kernel.shape[:2], strides, strict=True):
        if padding == "SAME":
            sizes.append(-(-size // stride))
            total = max((sizes[-1] - 1) * stride + window - size, 0)
        else:
            sizes.append((size - window) // stride + 1)
            total = 0
        before.append(total // 2)
    y = np.zeros((x.shape[0], *sizes, kernel.shape[3]))
    for i, j in np.ndindex(*sizes):
        for a, b in np.ndindex(*kernel.shape[:2]):
            row, column = i * strides[0] + a - before[0], j * strides[1] + b - before[1]
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                y[:, i, j] += x[:, row, column] @ kernel[a, b]
    return y


CASES = [
    # image, kernel, strides
    ((5, 5), (3, 3), (1, 1)),
    ((6, 6), (3, 3), (2, 2)),
    ((7, 5), (3, 3), (2, 2)),
    ((7, 7), (5, 5), (2, 1)),
    ((6, 8), (5, 3), (1, 2)),
    ((5, 4), (1, 1), (1, 1)),
    ((7, 6), (1, 1), (2, 3)),
    ((9, 7), (3, 3), (3, 3)),
    ((1, 1), (3, 3), (2, 2)),
    ((2, 3), (5, 5), (1, 1)),
    ((6, 11), (5, 4), (1, 1)),
    ((9, 9), (2, 7), (1, 1)),
]


def draw(image, kernel, seed=0):
    normal = np.random.default_rng(seed).normal
    return normal(size=(2, *image, 2)), normal(size=(*kernel, 2, 3))


@pytest.mark.parametrize(
    ("image", "kernel", "strides", "padding"),
    [(*case, "SAME") for case in CASES]
    + [(*case, "VALID") for case in CASES if np.all(np.array(case[0]) >= case[1])],
)
@pytest.mark.parametrize("method", ["lax", "patches"])
def test_values_are_those_of_a_loop_over_pixels(method, image, kernel, strides, padding):
    x, kernel = draw(image, kernel)
    with jax.enable_x64(True):
        y = convolution(x, kernel, strides=strides, padding=padding, method=method)
    np.testing.assert_allclose(y, reference(x, kernel, strides, padding), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("image", "kernel", "strides", "padding"),
    [
        ((6, 6), (3, 3), (2, 2), "SAME"),
        ((7, 5), (3, 5), (1, 2), "VALID"),
        ((5, 4), (1, 1), (2, 1), "SAME"),
    ],
)
def test_first_and_second_derivatives_agree(image, kernel, strides, padding):
    x, kernel = draw(image, kernel)
    directions = draw(x.shape[1:3], kernel.shape[:2], seed=1)

    def derivatives(method):
        def scalar(x, kernel):
            return jnp.sum(
                jnp.sin(convolution(x, kernel, strides=strides, padding=padding, method=method))
            )

        gradient = jax.grad(scalar, (0, 1))
        # One gradient of the gradient (reverse over reverse), one slope of it (forward over reverse).
        twice = jax.grad(lambda *at: sum(map(jnp.vdot, gradient(*at), directions)), (0, 1))
        return jax.jit(lambda *at: (*jax.jvp(gradient, at, directions), twice(*at)))(x, kernel)

    with jax.enable_x64(True):
        expected, actual = derivatives("lax"), derivatives("patches")
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    # Forward and reverse mode agree on the Hessian's product.
    np.testing.assert_allclose(actual[1][0], actual[2][0], rtol=1e-9, atol=1e-11)


def test_gradient_is_that_of_finite_differences():
    x, kernel = draw((5, 6), (3, 3))
    weight = np.random.default_rng(2).normal(size=(2, 3, 3, 3))
    with jax.enable_x64(True):
        gradient = jax.grad(
            lambda kernel: jnp.vdot(
                weight, convolution(x, kernel, strides=(2, 2), method="patches")
            )
        )(kernel)
    for index in [(0, 0, 0, 0), (1, 2, 1, 0), (2, 1, 0, 2)]:
        moved = np.zeros_like(kernel)
        moved[index] = 1.0  # linear in the kernel: the difference is exact
        expected = np.vdot(weight, reference(x, moved, (2, 2), "SAME"))
        np.testing.assert_allclose(gradient[index], expected, rtol=1e-10)


def compiled_convolutions(method, differentiate):
    """How many convolutions stand in the compiled program of per-task kernels."""

    def per_task(kernel, x):
        return jnp.sum(convolution(x, kernel, method=method) ** 2)

    function = jax.grad(per_task) if differentiate else per_task
    x, kernels = jnp.ones((2, 6, 6, 3)), jnp.ones((4, 3, 3, 3, 5))
    program = jax.jit(jax.vmap(function, (0, None))).lower(kernels, x).compile().as_text()
    return len(re.findall(r"\bconvolution\(|conv\w*custom-call|__onednn\$conv", program))


@pytest.mark.parametrize("differentiate", [False, True])
def test_no_convolution_is_left_where_patches_are_asked_for(differentiate):
    assert compiled_convolutions("patches", differentiate) == 0
    assert compiled_convolutions("lax", differentiate) > 0  # what the search finds otherwise


def test_auto_takes_patches_on_a_cpu_and_lax_elsewhere(monkeypatch):
    x, kernel = draw((4, 4), (3, 3))

    def traced():
        return str(jax.make_jaxpr(lambda *at: convolution(*at))(x, kernel))

    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert "conv_general_dilated" not in traced()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "conv_general_dilated" in traced()


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_image_patches_are_the_windows(padding):
    x = np.arange(2 * 5 * 7 * 3, dtype=np.float32).reshape(2, 5, 7, 3)
    patches = np.asarray(image_patches(x, (3, 2), strides=(2, 3), padding=padding))
    pads = ((0, 0), (1, 1), (0, 1), (0, 0)) if padding == "SAME" else ((0, 0),) * 4
    padded = np.pad(x, pads)
    for i, j in np.ndindex(*patches.shape[1:3]):
        window = padded[:, 2 * i : 2 * i + 3, 3 * j : 3 * j + 2]
        np.testing.assert_array_equal(patches[:, i, j], window.reshape(2, -1))
    assert patches.shape[1:3] == ((3, 3) if padding == "SAME" else (2, 2))


def test_conv_adds_its_bias_and_takes_its_options():
    x, _ = draw((6, 6), (3, 3))
    conv = Conv(2, 4, kernel_size=(5, 3), strides=(2, 1), padding="VALID", rngs=nnx.Rngs(0))
    assert conv.kernel.shape == (5, 3, 2, 4)
    assert conv.bias.shape == (4,)
    conv.bias[...] = jnp.arange(4.0)
    expected = reference(x, np.asarray(conv.kernel[...]), (2, 1), "VALID") + np.arange(4)
    np.testing.assert_allclose(conv(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)
    assert Conv(2, 4, use_bias=False, rngs=nnx.Rngs(0)).bias is None


def test_kernels_start_with_the_variance_of_lecun_and_their_own_key():
    kernel = Conv(32, 64, rngs=nnx.Rngs(0)).kernel[...]
    np.testing.assert_allclose(np.std(kernel), 1 / np.sqrt(9 * 32), rtol=0.05)
    assert np.all(Conv(32, 64, rngs=nnx.Rngs(1)).kernel[...] != kernel)


def test_patch_conv_is_a_conv_without_a_convolution():
    conv, patches = (
        kind(2, 3, strides=(2, 2), rngs=nnx.Rngs(0), **options)
        for kind, options in [(Conv, {"method": "lax"}), (PatchConv, {})]
    )
    x = jnp.asarray(draw((7, 7), (3, 3))[0])
    np.testing.assert_allclose(patches(x), conv(x), rtol=1e-4, atol=1e-5)
    assert "conv_general_dilated" not in str(jax.make_jaxpr(lambda x: patches(x))(x))


@pytest.mark.parametrize(
    ("x", "kernel"),
    [
        ((4, 4, 1), (3, 3, 1, 1)),
        ((1, 4, 4, 1), (3, 3, 1)),
        ((1, 4, 4, 2), (3, 3, 1, 1)),
    ],
)
@pytest.mark.parametrize("method", ["auto", "lax", "patches"])
def test_shapes_that_do_not_fit_are_shown(x, kernel, method):
    with pytest.raises(ValueError, match=re.escape(f"got {x} and {kernel}.")):
        convolution(jnp.zeros(x), jnp.zeros(kernel), method=method)


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="method must be 'auto', 'lax' or 'patches'; got 'fft'"):
        convolution(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1)), method="fft")


def test_a_window_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"a window of \(3, 3\) does not fit into .*\(2, 4\)"):
        image_patches(jnp.zeros((1, 2, 4, 1)), (3, 3), padding="VALID")
