"""What weights of networks of images presuppose and do not show: padding and epsilon."""

import json
from pathlib import Path
from typing import Any

from jaxfer.models.tensor_files import read_note, weight_files
from jaxfer.typing import UserError

# Where transformers is another than PyTorch's own networks: MobileNetV2's weights are TensorFlow's.
_USUAL: dict[str, dict[str, Any]] = {
    "transformers (MobileNetV2)": {"padding": "SAME", "epsilon": 1e-3},
    "transformers (ViT)": {"epsilon": 1e-12},
}


def find_numerics(path: Path, library: str) -> dict[str, Any]:
    """The numerics of published weights, by what stands beside them or else by whose they are.

    Args:
      path: a safetensors file, or a folder with one.
      library: whose names the tensors have, as :class:`jaxfer.models.LoadReport` has it.

    Returns:
      ``padding`` and ``epsilon``, where they are known. Of transformers by ``config.json``, or as
      they are by default there; of jaxfer by ``jaxfer.json`` or the note in the file. Nothing for
      others, whose are the networks' own.

    Raises:
      UserError: a file beside the weights is damaged.

    >>> find_numerics(Path("nowhere.safetensors"), "transformers (ViT)")
    {'epsilon': 1e-12}
    """
    folder = path if path.is_dir() else path.parent
    if library.startswith("jaxfer"):
        settings = _read(folder / "jaxfer.json").get("settings")
        if isinstance(settings, dict):
            return settings
        note = read_note(weight_files(path)[0])
        return {name: float(x) if name == "epsilon" else x for name, x in note.items()}
    if not library.startswith("transformers"):
        return {}
    found = dict(_USUAL.get(library, {}))
    config = _read(folder / "config.json")
    if "layer_norm_eps" in config:
        found["epsilon"] = config["layer_norm_eps"]
    if "tf_padding" in config:
        found["padding"] = "SAME" if config["tf_padding"] else "SYMMETRIC"
    return found


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not isinstance(content, dict):
            raise ValueError("it is no object")
        return content
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); mend it or take it away.") from error
