"""Makes the notebooks of this folder from their ``py:percent`` files, by running them.

    pip install -e '.[colab]'
    python colab/build.py                       # every notebook, with its outputs
    python colab/build.py colab/4_maml.py       # one of them
    python colab/build.py --small --check       # runs each briefly, writes nothing

The ``.py`` file is what is edited. A notebook is its cells, with Colab's badge under the title and
the cell that installs jaxfer behind it.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
REPOSITORY = "https://github.com/jaxfer/jaxfer"
"""The address of this project, from which Colab opens the notebooks and installs."""

BRANCH = "main"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
SECONDS = 1800  # that a cell may take, on a machine with much else to do

INSTALL = f"""\
# @title Installs jaxfer on Colab, beside the JAX that is there; elsewhere this does nothing
import importlib.metadata
import subprocess
import sys

if "google.colab" in sys.modules:
    # JAX was built for this machine's accelerator: pip must leave it, and NumPy, as they are.
    with open("keep.txt", "w") as file:
        for package in importlib.metadata.distributions():
            if package.name.lower().startswith(("jax", "libtpu", "numpy")):
                print(f"{{package.name}}=={{package.version}}", file=file)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "keep.txt",
         "git+{REPOSITORY}"],
        check=True,
    )"""


def source_files() -> list[Path]:
    """The lessons, in order."""
    return sorted(FOLDER.glob("[0-9]_*.py"))


def make_notebook(file: Path) -> nbformat.NotebookNode:
    """The notebook of a ``py:percent`` file, not yet run."""
    notebook = jupytext.read(file, fmt="py:percent")
    title, rest = (notebook.cells[0].source + "\n").split("\n", 1)
    where = REPOSITORY.removeprefix("https://github.com/")
    address = f"https://colab.research.google.com/github/{where}/blob/{BRANCH}/colab"
    badge = f"[![Open in Colab]({BADGE})]({address}/{file.stem}.ipynb)"
    notebook.cells[0].source = f"{title}\n\n{badge}\n{rest}".rstrip()
    install = nbformat.v4.new_code_cell(INSTALL, metadata={"cellView": "form"})
    notebook.cells.insert(1, install)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def run_notebook(notebook: nbformat.NotebookNode, *, small: bool) -> None:
    """Runs every cell in a new kernel and keeps the outputs; a warning is an error.

    Args:
      notebook: is filled with its outputs.
      small: whether to run the shorter version, of ``JAXFER_SMALL``.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]),
        "JAXFER_SMALL": "1" if small else "",
    }
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=SECONDS,
            startup_timeout=SECONDS,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        client.execute(env=environment)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                raise RuntimeError(f"A cell wrote to stderr:\n{cell.source}\n\n{output.text}")
            output.get("metadata", {}).clear()


def main() -> None:
    """Runs what is named, and writes it unless asked not to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="py:percent files; all by default")
    parser.add_argument("--small", action="store_true", help="run the shorter version")
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    if arguments.small and not arguments.check:
        parser.error("--small is for --check: a notebook holds the outputs of a full run.")
    for file in arguments.files or source_files():
        print(file.stem, file=sys.stderr, flush=True)
        notebook = make_notebook(file)
        run_notebook(notebook, small=arguments.small)
        if not arguments.check:
            text = nbformat.writes(notebook)
            file.with_suffix(".ipynb").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
