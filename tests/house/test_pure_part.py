"""Importing a loss or a learner costs JAX and optax, and nothing else."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("pure_part.py")
TESTS = Path(__file__).parent


def run(*arguments, **options):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(TESTS.parents[1])}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
        **options,
    )


def literal(file: str, name: str):
    for node in ast.parse((TESTS / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{file} has no {name}")


def test_the_packages_up_to_evaluation_import_with_everything_else_refused():
    result = run(str(SCRIPT), "--block")
    assert result.returncode == 0, result.stderr[-2000:]
    assert "jaxfer.typing" in result.stdout.split()


def test_the_refusal_works():
    code = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import pure_part
sys.meta_path.insert(0, pure_part.Blocker(pure_part.refused()))
import jax, optax
import flax
"""
    result = run("-c", code)
    assert result.returncode == 1
    assert "flax is neither of JAX nor of optax" in result.stderr


def test_what_jax_requires_is_allowed_and_flax_is_not():
    code = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pure_part import required_by
print(*sorted(required_by("jax", "jaxlib", "optax")))
"""
    names = run("-c", code).stdout.split()
    assert {"jax", "jaxlib", "optax", "numpy", "scipy", "absl"} <= set(names)
    assert not {"flax", "orbax", "chex", "matplotlib", "tensorflow_datasets"} & set(names)


def test_the_script_names_the_packages_of_the_lower_ranks():
    ranks, pure = literal("test_import_ranks.py", "RANKS"), literal("test_import_ranks.py", "PURE")
    assert set(literal("pure_part.py", "PURE")) == {n for n, rank in ranks.items() if rank <= pure}


def test_importing_the_top_level_imports_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import jaxfer; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    imported = set(run("-c", code).stdout.split()) - set(sys.stdlib_module_names)
    assert imported <= {"jaxfer"}, imported


def test_the_top_level_has_its_packages_and_a_version():
    import jaxfer

    assert {"meta", "typing", "report", "__version__"} <= set(dir(jaxfer))
    assert jaxfer.typing.UserError.__module__ == "jaxfer.typing"
    assert jaxfer.__version__.count(".") == 2


def test_functions_of_the_pure_packages_are_names_of_the_top_level(monkeypatch):
    import jaxfer

    # `report` stands in for the losses, so that this holds before and after there is one.
    monkeypatch.setattr(jaxfer, "_FLATTENED", ("report",))
    from jaxfer.report import learning_curve

    assert "learning_curve" in dir(jaxfer)
    assert jaxfer.learning_curve is learning_curve
    monkeypatch.delattr(jaxfer, "learning_curve")


def test_an_unknown_name_says_where_to_look():
    import jaxfer

    with pytest.raises(AttributeError, match=r"jaxfer has no 'mnd'; dir\(jaxfer\) lists"):
        jaxfer.mnd  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name"):
        from jaxfer import mnd  # noqa: F401
