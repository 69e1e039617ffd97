"""Read releases in formats for training by TRL's own functions, in an environment of its own, which needs no torch:

    uv venv /tmp/trl
    uv pip install --python /tmp/trl --no-deps trl
    uv pip install --python /tmp/trl transformers datasets
    /tmp/trl/bin/python scripts/trl_formats.py HUB/releases/v1

Prints, for each config, its rows, whether TRL takes them as conversations, and the text that a chat template makes.
"""

import sys

from datasets import get_dataset_config_names, load_dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl import data_utils

_TEMPLATE = (
    "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}</{{ turn.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def main(folder: str) -> None:
    """Read every config of a release."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=_TEMPLATE)
    for config in get_dataset_config_names(folder):
        rows = load_dataset(folder, config, split="train")
        columns = [name for name in rows.column_names if not name.endswith("_id") and name != "batch"]
        print(f"{config}: {len(rows)} rows, {', '.join(columns)}")
        if "conversations" in columns:
            print(f"  from/value: {data_utils.is_conversational_from_value(rows[0])}")
            rows = rows.map(data_utils.maybe_convert_to_chatml).select_columns(["messages"])
        if not data_utils.is_conversational(rows[0]):
            print("  no conversations")
            continue
        example = {
            name: rows[0][name]
            for name in ("messages", "prompt", "completion", "chosen", "rejected")
            if name in rows[0]
        }
        for name, text in data_utils.apply_chat_template(example, tokenizer).items():
            print(f"  {name}: {text[:160]!r}")
        if "rejected" in example:
            pairs = data_utils.unpair_preference_dataset(rows.select_columns(["prompt", "chosen", "rejected"]))
            print(f"  unpaired: {len(pairs)} rows, {pairs.column_names}")


if __name__ == "__main__":
    main(sys.argv[1])
