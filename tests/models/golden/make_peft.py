"""Makes the golden files in peft/ beside it: a LoRA as PEFT writes it, and what it computes.

    python tests/models/golden/make_peft.py

Needs torch, transformers and peft, which the tests do not. The network is that of
bert.safetensors, made by make_golden.py, with its input. Run it again only for another version of
the format.
"""

from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent
FOLDER = HERE / "peft"


def main():
    file = load_file(HERE / "bert.safetensors")
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=24, max_position_embeddings=12, type_vocab_size=2,
    )  # fmt: skip
    network = transformers.BertModel(config, add_pooling_layer=False)
    weights = {
        n.removeprefix("weights."): torch.tensor(t)
        for n, t in file.items()
        if n.startswith("weights.")
    }
    left = network.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys and not left.missing_keys, left
    torch.manual_seed(0)
    lora = peft.LoraConfig(
        r=2, lora_alpha=8, target_modules=["query", "value"], init_lora_weights=False
    )
    adapted = peft.get_peft_model(network, lora).eval()
    ids, mask = (torch.tensor(file[name]) for name in ("input.ids", "input.mask"))
    with torch.no_grad():
        out = adapted(input_ids=ids.long(), attention_mask=mask.long()).last_hidden_state
    adapted.save_pretrained(FOLDER)
    (FOLDER / "README.md").unlink(missing_ok=True)
    expected = (out * mask[..., None]).numpy()
    assert np.abs(expected - file["output"]).max() > 0.1
    save_file({"output": expected}, FOLDER / "expected.safetensors")
    for path in sorted(FOLDER.iterdir()):
        path.chmod(0o644)
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
