"""The permutation test: level, power, its statistic and null; the witness function."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxfer import GaussianKernel, mmd, mmd_two_sample_test, mmd_witness

from .mmd_references import (
    KERNELS,
    bandwidth,
    gaussian,
    quickly,
    reference_mmd,
    run,
    two,
    weights,
)

KEY = jax.random.key(0)


# The test


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_p_values_are_uniform_where_there_is_no_difference(estimator):
    """200 pairs of samples of unequal sizes."""
    draw = jax.random.normal(jax.random.key(1), (200, 20, 2))

    def p_value(z, key):
        return mmd_two_sample_test(
            z[:8], z[8:], key=key, permutations=99, estimator=estimator
        )[0]  # fmt: skip

    found = np.asarray(quickly(jax.vmap(p_value))(draw, jax.random.split(jax.random.key(2), 200)))
    assert found.min() >= 0.01 - 1e-7 and found.max() <= 1
    np.testing.assert_allclose(100 * found, np.round(100 * found), atol=1e-3)
    assert scipy.stats.kstest(found - 0.005, "uniform").pvalue > 0.01
    assert np.mean(found <= 0.05) < 0.1


def test_power_grows_with_the_shift():
    draw = jax.random.normal(jax.random.key(3), (40, 2, 15, 2))

    def p_value(z, shift, key):
        return mmd_two_sample_test(z[0], z[1] + shift, key=key, permutations=99)[0]

    found = quickly(jax.vmap(jax.vmap(p_value, in_axes=(0, None, 0)), in_axes=(None, 0, None)))(
        draw, jnp.array([0.0, 0.5, 1.0, 2.0]), jax.random.split(KEY, 40)
    )
    power = np.mean(found <= 0.05, axis=1)
    assert power[0] < 0.2 and power[3] > 0.95
    assert (np.diff(power) > 0).all()
    np.testing.assert_allclose(found[3].min(), 0.01, rtol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "estimator"),
    [("gaussian", "unbiased"), ("gaussian", "biased"), ("polynomial", "unbiased")],
)
def test_the_statistic_and_every_null_value_are_mmds(kernel, estimator, x64):
    """With so few points every division can be listed; each has about its share of the null."""
    source, target = two(n=3, m=4)
    width = 1.7
    p_value, test = run(
        mmd_two_sample_test, source, target, key=KEY, permutations=700, kernel=kernel,
        bandwidth=width, estimator=estimator,
    )  # fmt: skip
    formula = KERNELS[kernel][1]
    expected = reference_mmd(source, target, formula, width, estimator)
    np.testing.assert_allclose(test.statistic, expected, rtol=1e-10)
    direct = run(mmd, source, target, kernel=kernel, bandwidth=width, estimator=estimator)
    np.testing.assert_allclose(test.statistic, direct, rtol=1e-10)
    pooled = np.concatenate([source, target])
    divisions = []
    for chosen in itertools.combinations(range(7), 3):
        rest = [i for i in range(7) if i not in chosen]
        divisions.append(
            reference_mmd(pooled[list(chosen)], pooled[rest], formula, width, estimator)
        )
    assert test.null.shape == (700,)
    apart = np.abs(np.asarray(test.null)[:, None] - np.array(divisions)[None])
    assert apart.min(1).max() < 1e-10 * max(1, np.abs(divisions).max())
    counts = np.bincount(apart.argmin(1), minlength=35)
    # 20 of each are to be expected: more than five deviations off are not.
    assert counts.min() > 0 and counts.max() < 43
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    # Equal divisions count as equal, whatever their rounding.
    at_least = np.sum(test.null >= test.statistic - 1e-9 * abs(test.statistic))
    np.testing.assert_allclose(p_value, (1 + at_least) / 701, rtol=1e-12)


def p_value_of(source, target, **options):
    return quickly(
        lambda x, y: mmd_two_sample_test(x, y, key=KEY, permutations=600, **options)[0]
    )(source, target)  # fmt: skip


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_divisions_that_tie_count_as_ties(estimator):
    """Rounding must not decide."""
    source = np.array([[0.0], [0.1]], np.float32)
    target = np.array([[5.0], [5.3]], np.float32)
    # The observed division is one of three: to swap the sides changes nothing.
    np.testing.assert_allclose(p_value_of(source, target, estimator=estimator), 1 / 3, atol=0.08)
    values = np.array([[0.0], [0.7]], np.float32)[[0, 1, 0, 1]]
    assert p_value_of(values, values, estimator=estimator) == 1  # the least of all divisions


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("n", [3, 6])
def test_points_that_are_all_equal_say_nothing(n, estimator):
    for at in (0.0, 0.3):
        same = np.full((n, 2), at, np.float32)
        assert p_value_of(same, same, estimator=estimator) == 1


def test_points_of_few_values_keep_the_level():
    draw = np.random.default_rng(0).integers(0, 2, (300, 20, 1)).astype(np.float32)
    keys = jax.random.split(KEY, 300)
    found = quickly(
        jax.vmap(lambda z, key: mmd_two_sample_test(z[:10], z[10:], key=key, permutations=99)[0])
    )(draw, keys)
    for level in (0.05, 0.1, 0.2, 0.5):
        assert np.mean(found <= level) < level + 3 * np.sqrt(level * (1 - level) / 300)


def test_nan_stays_nan_when_traced():
    source, target = two(1, 6, 6, dtype=np.float32)
    source[2, 1] = np.nan
    for kernel in ("gaussian", "laplace_l2"):
        assert np.isnan(p_value_of(source, target, kernel=kernel))


def test_the_rule_is_of_the_pooled_sample(x64):
    source, target = two(2, 6, 9)
    _, test = run(mmd_two_sample_test, source, target, key=KEY, permutations=5, bandwidth="median")
    width = bandwidth("median", source, target)
    expected = reference_mmd(source, target, gaussian, width, "unbiased")
    np.testing.assert_allclose(test.statistic, expected, rtol=1e-9)


def test_the_null_of_the_unbiased_statistic_is_zero_on_average():
    source, target = two(3, 30, 40, dtype=np.float32)
    _, test = run(mmd_two_sample_test, source, target, key=KEY, permutations=2000)
    assert abs(test.null.mean()) < 4 * test.null.std() / np.sqrt(2000)


@pytest.mark.slow
def test_a_key_gives_one_answer_and_blocks_do_not_change_it(x64):
    source, target = two(4, 11, 14)

    def run(key, **options):
        def f(key):
            p_value, test = mmd_two_sample_test(
                source, target, key=key, permutations=60, **options
            )  # fmt: skip
            return jnp.append(test.null, jnp.stack([p_value, test.statistic]))

        return f if not options else quickly(f)(key)

    f = quickly(run(KEY))
    first = f(KEY)
    np.testing.assert_array_equal(f(KEY), first)
    np.testing.assert_allclose(run(KEY)(KEY), first, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(run(KEY, block_size=4), first, rtol=1e-9, atol=1e-12)
    assert (f(jax.random.key(1))[:60] != first[:60]).any()


def test_one_permutation_is_enough():
    source, target = two(5, dtype=np.float32)
    p_value, test = mmd_two_sample_test(source, target + 9, key=KEY, permutations=1)
    assert p_value in (0.5, 1.0) and test.null.shape == (1,)


@pytest.mark.parametrize(("n", "m"), [(1, 5), (5, 1)])
def test_the_biased_statistic_of_one_point_a_side(n, m, x64):
    source, target = two(6, n, m)
    _, test = mmd_two_sample_test(source, target, key=KEY, permutations=5, estimator="biased")
    np.testing.assert_allclose(test.statistic, reference_mmd(source, target), rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"permutations": 0}, "permutations must be an integer of at least 1; it is 0"),
        ({"permutations": 10.0}, "permutations must be an integer of at least 1"),
        ({"estimator": "linear"}, "estimator must be biased or unbiased.*it is 'linear'"),
        ({"estimator": "unbiased_shifted"}, "estimator must be biased or unbiased"),
        ({"bandwidth": "median_source"}, "bandwidth 'median_source'"),
        ({"bandwidth": 0.0}, "bandwidth must be a positive number"),
        ({"kernel": "x"}, "kernel must be one of.*it is 'x'"),
        ({"block_size": 0}, "block_size must be a positive integer"),
    ],
)
def test_options_of_the_test_that_are_refused(options, message):
    source, target = two(7, dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        mmd_two_sample_test(source, target, key=KEY, **options)


@pytest.mark.parametrize(
    "f", [lambda x, y: mmd_two_sample_test(x, y, key=KEY), lambda x, y: mmd_witness(x, y, top=1)]
)
def test_samples_that_are_refused(f):
    source, target = two(7, dtype=np.float32)
    with pytest.raises(TypeError, match="target must be of floating point"):
        f(source, target.astype(int))
    for x, y, message in [
        (source[0], target, "source must be an array"),
        (source[:, 1:], target, "same number of features"),
        (source[:0], target, "source must hold at least"),
        (source, np.full_like(target, np.nan), "target must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            f(x, y)


# The witness


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_witness_is_its_formula(kernel, x64):
    source, target = two(8)
    at = two(9, 4, 1)[0]
    a, b = weights(1, 7), weights(2, 9)
    formula = KERNELS[kernel][1]

    def expected(z):
        p, q = a / a.sum(), b / b.sum()
        return p @ formula(source, z, 1.7) - q @ formula(target, z, 1.7)

    for block_size in (None, 4) if kernel == "gaussian" else (None,):
        witness = run(
            mmd_witness, source, target, at=at, top=3, kernel=kernel, bandwidth=1.7,
            source_weights=5 * a, target_weights=b, block_size=block_size,
        )  # fmt: skip
        np.testing.assert_allclose(witness.at, expected(at), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(witness.source, expected(source), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(witness.target, expected(target), rtol=1e-9, atol=1e-12)
    means = a @ witness.source / a.sum() - b @ witness.target / b.sum()
    value = reference_mmd(source, target, formula, 1.7, p=a, q=b)
    np.testing.assert_allclose(means, value, rtol=1e-9)
    np.testing.assert_array_equal(witness.source_examples, np.argsort(-expected(source))[:3])
    np.testing.assert_array_equal(witness.target_examples, np.argsort(expected(target))[:3])


def test_the_witness_under_a_rule_and_without_further_points(x64):
    source, target = two(10)
    witness = mmd_witness(source, target, top=7)
    assert witness.at is None
    assert sorted(witness.source_examples.tolist()) == list(range(7))
    assert len(set(witness.target_examples.tolist())) == 7
    means = witness.source.mean() - witness.target.mean()
    np.testing.assert_allclose(means, reference_mmd(source, target), rtol=1e-10)


def test_examples_are_the_clusters_that_the_other_side_lacks():
    draw = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    source, target = draw[:30].copy(), draw[30:].copy()
    source[[4, 9, 20]] += 12
    target[[0, 17]] -= 12
    kernel = GaussianKernel(scales=(1.0,))
    witness = mmd_witness(source, target, top=3, kernel=kernel, bandwidth=9.0)
    assert set(witness.source_examples.tolist()) == {4, 9, 20}
    assert set(witness.target_examples.tolist()[:2]) == {0, 17}
    assert (np.asarray(witness.source)[[4, 9, 20]] > 0).all()
    assert (np.asarray(witness.target)[[0, 17]] < 0).all()


def test_absent_points_are_no_examples(x64):
    source, target = two(11, 6, 7)
    a, b = np.ones(6), np.ones(7)
    alone = mmd_witness(source, target, top=1, bandwidth=2.0)
    best = int(alone.source_examples[0])
    a[best], b[[2, 3]] = 0, 0
    witness = mmd_witness(source, target, top=5, bandwidth=2.0, source_weights=a, target_weights=b)
    assert best not in witness.source_examples.tolist()
    assert not {2, 3} & set(witness.target_examples.tolist())
    p = a / 5
    expected = p @ gaussian(source, source, 2.0) - b / 5 @ gaussian(target, source, 2.0)
    np.testing.assert_allclose(witness.source, expected, rtol=1e-10)


def test_more_examples_than_points_that_are_there():
    source, target = two(11, 6, 7, dtype=np.float32)
    weights = np.array([1, 0, 1, 0, 0, 0])
    with pytest.raises(ValueError, match="top"):
        mmd_witness(source, target, top=3, source_weights=weights)


def test_the_witness_under_jit_and_its_gradient(x64):
    """Its gradient at a point is where the point should go."""
    source, target = two(12)

    def at(z):
        return mmd_witness(source, target, at=z[None], top=1, bandwidth=2.0).at[0]

    z = np.array([0.3, -0.2, 0.7])
    value, gradient = quickly(jax.value_and_grad(at))(z)
    p, q = np.full(7, 1 / 7), np.full(9, 1 / 9)
    formula = lambda z: p @ gaussian(source, z[None], 2.0) - q @ gaussian(target, z[None], 2.0)  # noqa: E731
    np.testing.assert_allclose(value, formula(z)[0], rtol=1e-10)
    by_hand = [(formula(z + e) - formula(z - e))[0] / 2e-5 for e in 1e-5 * np.eye(3)]
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top must be from 1 to 7"),
        ({"top": 8}, "top must be from 1 to 7"),
        ({"top": 2.5}, "top must be"),
        ({"at": np.ones((2, 2))}, r"at must be points \[k, 3\]"),
        ({"at": np.ones(3)}, r"at must be points \[k, 3\]"),
        ({"at": np.full((1, 3), np.nan)}, "at must be finite"),
        ({"kernel": "x"}, "kernel must be one of"),
        ({"bandwidth": -1.0}, "bandwidth must be a positive number"),
        ({"source_weights": -np.ones(7)}, "source_weights must be finite and not negative"),
        ({"target_weights": np.ones(7)}, "target_weights must hold one weight for each point"),
    ],
)
def test_options_of_the_witness_that_are_refused(options, message):
    source, target = two(13, dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        mmd_witness(source, target, **{"top": 2, **options})
