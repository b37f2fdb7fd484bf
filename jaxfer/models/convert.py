"""Checks whether published weights fit a network, and says what goes where.

    python -m jaxfer.models.convert --check FOLDER
    python -m jaxfer.models.convert --check resnet50.safetensors --network resnet50
    python -m jaxfer.models.convert --check FOLDER --out converted.safetensors

Encoders of texts (BERT, DistilBERT, MiniLM) say themselves what they are, in config.json; of images
name the network. With --out the parameters are written under jaxfer's own names, and with them the
padding and epsilon that they presuppose.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxfer.models.image_networks import NAMES, image_network, load_image_encoder
from jaxfer.models.loading import tensors_of
from jaxfer.models.published import find_model, load_encoder
from jaxfer.models.tensor_files import write_tensors
from jaxfer.typing import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      arguments: those of the command line unless given.

    Returns:
      0, or 2 after an error, which is printed.

    >>> main(["--check", "no/such/folder"])
    2
    """
    parser = argparse.ArgumentParser(
        prog="python -m jaxfer.models.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", required=True, metavar="FILE", help="file, folder or hub name")
    parser.add_argument("--network", choices=NAMES, help="which network of images it is of")
    parser.add_argument("--image-size", type=int, default=224, metavar="N", help="for vit-s, vit-b")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it under jaxfer's names")
    options = parser.parse_args(arguments)
    try:
        path, note = find_model(options.check), dict[str, str]()
        if options.network is None:
            encoder = load_encoder(path)
            report, trees = encoder.report, [encoder.params]
        else:
            network = image_network(options.network, image_size=options.image_size, color=True)
            start = load_image_encoder(path, network)
            report, trees = start.report, [start.params, start.state]
            note = {name: str(value) for name, value in start.network.numerics().items()}
        print(report.table())
        if note:
            print(", ".join(f"{name} {value}" for name, value in note.items()))
        if options.out is not None:
            write_tensors(options.out, tensors_of(*trees), note=note)
            print(f"Written: {options.out}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
