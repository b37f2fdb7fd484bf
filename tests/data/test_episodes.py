import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.data import (
    check_episode_shape,
    sample_episode,
    sample_labelled,
    sample_trajectory,
)
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


GROUPS = np.repeat([7, 5, 9], [5, 4, 3])  # of the 12 classes


def groups_of(task, catalogue):
    return [GROUPS[c] for c in dict.fromkeys(identify(task.support, catalogue)[:, 0])]


def test_episodes_of_one_group_are_filled_up_where_it_is_small(images, catalogue):
    tasks = draw(images, 60, False, way=4, groups=jnp.asarray(GROUPS))
    found = [groups_of(task, catalogue) for task in tasks]
    counts = [max(each.count(g) for g in set(each)) for each in found]
    assert set(counts) == {3, 4}  # three of the smallest group and one of another, or all of one
    assert {each[0] for each in found} == {5, 7, 9}
    # Where the stranger stands does not give it away.
    strangers = {
        next(i for i, g in enumerate(each) if g != 9) for each in found if each.count(9) == 3
    }
    assert len(strangers) > 1


def test_a_share_of_the_episodes_is_of_one_group(images, catalogue):
    tasks = draw(images, 200, False, way=3, groups=jnp.asarray(GROUPS), within=0.5)
    share = np.mean([len(set(groups_of(task, catalogue))) == 1 for task in tasks])
    by_chance = (5 * 4 * 3 + 4 * 3 * 2 + 3 * 2) / (12 * 11 * 10)
    assert abs(share - (0.5 + 0.5 * by_chance)) < 0.12


def test_groups_that_do_not_fit(images):
    with pytest.raises(ValueError, match="groups must hold one number for each of the 12 classes"):
        draw(images, 1, False, groups=jnp.zeros(3))
    with pytest.raises(ValueError, match="within be from 0 to 1; got .* and 1.5"):
        draw(images, 1, False, groups=jnp.asarray(GROUPS), within=1.5)


@pytest.mark.parametrize("rotations", [False, True])
def test_labelled_images_are_of_the_class_and_turn_that_their_label_says(
    images, catalogue, rotations
):
    pool = jnp.array([3, 8, 11])
    batch = sample_labelled(
        jax.random.key(0), jnp.asarray(images), pool, count=120, rotations=rotations
    )
    found = identify(batch, catalogue)
    place, turn = np.divmod(batch.y, 4) if rotations else (batch.y, 0 * batch.y)
    np.testing.assert_array_equal(found[:, 0], np.asarray(pool)[place])
    np.testing.assert_array_equal(found[:, 2], turn)
    assert len(np.unique(batch.y)) == (12 if rotations else 3)
    with pytest.raises(ValueError, match="count must be at least 1; got 0"):
        sample_labelled(jax.random.key(0), jnp.asarray(images), pool, count=0, rotations=False)


def test_a_trajectory_is_class_by_class_and_its_labels_are_those_of_the_random_batch(
    images, catalogue
):
    pool = jnp.array([3, 8, 11, 0])
    task = sample_trajectory(jax.random.key(0), jnp.asarray(images), pool, way=2, shot=3, random=50)
    shown, asked = (identify(batch, catalogue) for batch in task)
    np.testing.assert_array_equal(shown[:, 0], np.asarray(pool)[task.support.y])
    np.testing.assert_array_equal(asked[:, 0], np.asarray(pool)[task.query.y])
    assert len(set(task.support.y[:3].tolist())) == len(set(task.support.y[3:].tolist())) == 1
    assert task.support.y[0] != task.support.y[3]
    assert len({tuple(each[:2]) for each in shown}) == 6  # no drawing twice
    assert set(task.query.y.tolist()) == {0, 1, 2, 3}
    for change, complaint in (
        (dict(way=5), "way must be at least 1 and at most 4; got 5"),
        (dict(shot=21), "shot must be at least 1 and at most 20; got 21"),
        (dict(random=0), "random must be at least 1; got 0"),
    ):
        with pytest.raises(ValueError, match=complaint):
            sample_trajectory(
                jax.random.key(0), jnp.asarray(images), pool,
                **dict(way=2, shot=3, random=5) | change,
            )  # fmt: skip
