import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.data import check_episode_shape, sample_episode
from jaxfer.typing import UserError

CLASSES, EXAMPLES, SIDE = 12, 20, 6
SHAPE = dict(way=4, shot=2, queries=3)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Each drawing differs from all others, and from its own turns."""
    return np.random.default_rng(0).integers(
        0, 256, (CLASSES, EXAMPLES, SIDE, SIDE), dtype=np.uint8
    )


@pytest.fixture(scope="module")
def catalogue(images) -> dict[bytes, tuple[int, int, int]]:
    """From the pixels of a drawing, turned or not, to class, example and quarter turns."""
    return {
        np.rot90(images[c, e], turns).tobytes(): (c, e, turns)
        for c in range(CLASSES)
        for e in range(EXAMPLES)
        for turns in range(4)
    }


def identify(batch, catalogue) -> np.ndarray:
    """``[n, 3]``: class, example and turns of every image of a batch."""
    pixels = np.round(np.asarray(batch.x)[..., 0] * 255).astype(np.uint8)
    return np.array([catalogue[image.tobytes()] for image in pixels])


def draw(images, n: int, rotations: bool, pool=None, **shape):
    """n episodes, drawn at once by vmap in jit."""
    pool = jnp.arange(len(images)) if pool is None else jnp.asarray(pool)
    shape = SHAPE | shape

    @jax.jit
    def sample(keys, images):
        return jax.vmap(
            lambda key: sample_episode(key, images, pool, rotations=rotations, **shape)
        )(keys)

    tasks = jax.device_get(sample(jax.random.split(jax.random.key(0), n), jnp.asarray(images)))
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tasks) for i in range(n)]


def test_shapes_and_ranges(images):
    task = draw(images, 1, True)[0]
    assert task.support.x.shape == (8, SIDE, SIDE, 1)
    assert task.query.x.shape == (12, SIDE, SIDE, 1)
    assert task.support.x.dtype == task.query.x.dtype == np.float32
    assert task.support.y.dtype == task.query.y.dtype == np.int32
    assert 0 <= task.support.x.min() and task.support.x.max() <= 1
    assert task.support.y.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert task.query.y.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("rotations", [False, True])
def test_an_episode_is_consistent(images, catalogue, rotations):
    for task in draw(images, 50, rotations):
        support, query = identify(task.support, catalogue), identify(task.query, catalogue)
        character_and_turn = {}
        for label in range(SHAPE["way"]):
            mine = np.concatenate([support[task.support.y == label], query[task.query.y == label]])
            assert len(np.unique(mine[:, [0, 2]], axis=0)) == 1  # one character, turned alike
            assert len(set(mine[:, 1])) == SHAPE["shot"] + SHAPE["queries"]  # other drawings
            character_and_turn[label] = tuple(mine[0, [0, 2]])
        assert len({character for character, _ in character_and_turn.values()}) == SHAPE["way"]
        if not rotations:
            assert {turn for _, turn in character_and_turn.values()} == {0}


def test_only_the_pool_is_drawn_from(images, catalogue):
    pool = [3, 4, 7, 8, 11]
    for task in draw(images, 20, True, pool=pool):
        assert set(identify(task.query, catalogue)[:, 0]) <= set(pool)


def test_everything_is_equally_likely(images, catalogue):
    n = 2000
    drawn = [identify(task.support, catalogue) for task in draw(images, n, True)]
    first = np.array([each[0] for each in drawn])  # of each episode's first class
    for column, values in ((0, CLASSES), (1, EXAMPLES), (2, 4)):
        counts = np.bincount(first[:, column], minlength=values)
        chi2 = ((counts - n / values) ** 2 / (n / values)).sum()
        assert chi2 < values + 5 * np.sqrt(2 * values)
    # A class says nothing of the drawing or of the turn, nor one class's turn of another's.
    turns = np.array([each[[0, 2], 2] for each in drawn])
    for one, other, values in (
        (first[:, 0], first[:, 1] // 5, CLASSES * 4),
        (first[:, 0], first[:, 2], CLASSES * 4),
        (turns[:, 0], turns[:, 1], 16),
    ):
        counts = np.bincount(4 * one + other, minlength=values)
        chi2 = ((counts - n / values) ** 2 / (n / values)).sum()
        assert chi2 < values + 5 * np.sqrt(2 * values)


def test_all_examples_and_all_classes_can_be_used(images, catalogue):
    task = draw(images, 1, True, way=CLASSES, shot=5, queries=15)[0]
    drawn = np.concatenate([identify(task.support, catalogue), identify(task.query, catalogue)])
    assert len({tuple(each) for each in drawn[:, :2]}) == CLASSES * EXAMPLES


def test_a_key_is_an_episode(images):
    arguments = (jnp.asarray(images), jnp.arange(CLASSES))
    one, same, other = (
        sample_episode(jax.random.key(seed), *arguments, rotations=True, **SHAPE)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.query.x, same.query.x)
    assert (one.query.x != other.query.x).any()


def test_the_shape_of_an_episode_is_checked_while_tracing(images):
    with pytest.raises(UserError, match="--way is 13, but there are only 12 characters"):
        draw(images, 1, False, way=13)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (dict(way=0), "--way is 0; give a whole number of at least 2"),
        (dict(way=1), "--way is 1; give a whole number of at least 2"),
        (dict(way=2.5), "--way is 2.5; give a whole number"),
        (dict(shot=0), "--shot is 0; give a whole number of at least 1"),
        (dict(queries=-1), "--queries is -1; give a whole number of at least 1"),
        (dict(queries=True), "--queries is True; give a whole number"),
        (dict(way=101), "--way is 101, but there are only 100 characters .*; give at most 100"),
        (dict(shot=6), "--shot 6 and --queries 15 need 21 drawings .* has 20; lower one"),
    ],
)
def test_bad_shapes(change, complaint):
    with pytest.raises(UserError, match=complaint):
        check_episode_shape(**dict(way=5, shot=1, queries=15, classes=100) | change)


def test_good_shapes():
    check_episode_shape(way=100, shot=5, queries=15, classes=100)
    check_episode_shape(way=np.int64(5), shot=1, queries=1, classes=5)
    check_episode_shape(way=5, shot=1, queries=30, classes=5, examples=31)


def test_bad_images():
    key, pool = jax.random.key(0), jnp.arange(5)
    with pytest.raises(ValueError, match="uint8 .*; got float32"):
        sample_episode(key, jnp.zeros((5, 20, 8, 8)), pool, rotations=False, **SHAPE)
    with pytest.raises(ValueError, match="square to be rotated; got 8 x 9"):
        oblong = jnp.zeros((5, 20, 8, 9), jnp.uint8)
        sample_episode(key, oblong, pool, rotations=True, **SHAPE)
