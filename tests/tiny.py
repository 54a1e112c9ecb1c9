"""Tiny models, a tiny tokenizer and tiny data on disk, all made from seeds."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = (
    "the a red green blue small large old new cat dog bird house tree river stone walks sees finds "
    "keeps makes under over near one two three four five six seven eight nine ten and or not"
).split()
VOCABULARY = 384
_SHAPE = {"vocab_size": VOCABULARY}
_LLAMA = _SHAPE | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
_GPT2 = _SHAPE | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
# Architecture → the settings that make it tiny; dropout 0, so that losses can be compared.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "qwen3": _LLAMA | {"head_dim": 8},
    "gpt2": _GPT2 | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "opt": _SHAPE
    | {
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "word_embed_proj_dim": 32,
        "dropout": 0.0,
        "pad_token_id": 0,
    },
    "bloom": _SHAPE
    | {
        "hidden_size": 32,
        "n_layer": 2,
        "n_head": 4,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    },
    # Windows shorter than the rows of most tests, and both kinds of what is done to logits.
    "mistral": _LLAMA | {"sliding_window": 5},
    "gemma": _LLAMA | {"head_dim": 8},
    "gemma2": _LLAMA | {"head_dim": 8, "sliding_window": 5, "final_logit_softcapping": 2.0},
    "gemma3_text": _LLAMA | {"head_dim": 8, "sliding_window": 5},
    "cohere": _LLAMA | {"logit_scale": 0.25},
    "granite": _LLAMA | {"logits_scaling": 4.0},
    "cohere2": _LLAMA | {"logit_scale": 0.25, "sliding_window": 5},
    "olmo2": _LLAMA,
    "qwen2": _LLAMA,
    "smollm3": _LLAMA | {"pad_token_id": 0},
    "starcoder2": _LLAMA | {"residual_dropout": 0.0, "embedding_dropout": 0.0},
    "phi": _LLAMA | {"resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "phi3": _LLAMA | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "pad_token_id": 0},
    "gpt_neox": _LLAMA | {"hidden_dropout": 0.0, "attention_dropout": 0.0},
    "gptj": _GPT2 | {"rotary_dim": 4, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}

_BART = _SHAPE | {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 256,
    "dropout": 0.0,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "decoder_start_token_id": 3,
    "forced_eos_token_id": 3,
}
_T5 = _SHAPE | {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "dropout_rate": 0.0,
    "pad_token_id": 0,
    "eos_token_id": 3,
    "decoder_start_token_id": 0,
}
# Encoder-decoders, likewise.
SEQ2SEQ: dict[str, dict[str, Any]] = {
    "t5": _T5,
    "bart": _BART,
    "mbart": _BART,
}


def sentence(rng: random.Random, shortest: int, longest: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(shortest, longest)))


def make_tokenizer(directory: Path) -> Path:
    """A byte-level BPE tokenizer of 384 tokens with a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rng = random.Random(7)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((sentence(rng, 5, 20) for _ in range(200)), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        bos_token="<|endoftext|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(directory)
    return directory


def mbart_tokenizer(kind: str = "mbart", **languages: str) -> Any:
    """A tokenizer of mBART (kind mbart) or mBART-50 (mbart50), of the words of `sentence`."""
    from transformers import MBart50Tokenizer, MBartTokenizer
    from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES

    languages = {"src_lang": "en_XX"} | languages
    pieces = [*(f"▁{word}" for word in WORDS), "▁", *"abcdefghijklmnopqrstuvwxyz0123456789"]
    scored = [(piece, -1.0 - number) for number, piece in enumerate(pieces)]
    if kind == "mbart50":  # it puts in languages, and tokens of its own for the first three
        special = [(token, 0.0) for token in ("<unk>", "<s>", "</s>")]
        return MBart50Tokenizer(vocab=special + scored, **languages)
    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    last = [(token, 0.0) for token in (*FAIRSEQ_LANGUAGE_CODES, "<mask>")]
    return MBartTokenizer(vocab=special + scored + last, **languages)


def make_mbart(directory: Path, kind: str = "mbart", strength: float = 1.0) -> Path:
    """A random mBART or mBART-50 with a tokenizer of its kind.

    Unless its weights are made larger by `strength`, all that it reads has much the same answer.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = mbart_tokenizer(kind)
    tokenizer.save_pretrained(directory)
    torch.manual_seed(1)
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "forced_eos_token_id": 2}
    start = {"decoder_start_token_id": 2} if kind == "mbart50" else {}
    settings = SEQ2SEQ["mbart"] | ids | {"vocab_size": len(tokenizer)}
    settings.pop("decoder_start_token_id")
    config = AutoConfig.for_model("mbart", **(settings | start))
    model = AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(strength)
    model.save_pretrained(directory)
    return directory


def make_model(directory: Path, architecture: str = "llama", seed: int = 1, **changes: Any) -> Path:
    """A random float32 model of the architecture, with the tiny tokenizer beside it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    torch.manual_seed(seed)
    settings = (ARCHITECTURES | SEQ2SEQ)[architecture]
    config = AutoConfig.for_model(architecture, **(settings | changes))
    model_class = AutoModelForSeq2SeqLM if architecture in SEQ2SEQ else AutoModelForCausalLM
    model_class.from_config(config, dtype=torch.float32).save_pretrained(directory)
    make_tokenizer(directory)
    return directory


def make_data(directory: Path, train: int = 40, val: int | None = 11, test: int = 5) -> Path:
    """Rows of different lengths, so that padding and token counts differ between batches."""
    rng = random.Random(3)
    for split, count in (("train", train), ("val", val), ("test", test)):
        if count is None:
            continue
        (directory / split).mkdir(parents=True, exist_ok=True)
        with (directory / split / "rows.jsonl").open("w", encoding="utf-8") as stream:
            for _ in range(count):
                row = {"input": sentence(rng, 2, 12), "output": sentence(rng, 1, 9)}
                stream.write(json.dumps(row) + "\n")
    return directory


def make_echoes(directory: Path) -> Path:
    """Most answers are alike, so that a tiny model soon gives some that are right."""
    for split, count in (("train", 24), ("val", 7)):
        (directory / split).mkdir(parents=True)
        rows = [
            {"input": f"cat {i}", "output": "the red cat sees" if i % 4 else "the small dog"}
            for i in range(count)
        ]
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (directory / split / "rows.jsonl").write_text(text)
    return directory


def make_preferences(directory: Path, form: str = "pairs", train: int = 20, val: int = 8) -> Path:
    """Rows of which the right answer repeats a word of the prompt: pairs, marked or prompts."""
    rng = random.Random(5)
    for split, count in (("train", train), ("val", val)):
        (directory / split).mkdir(parents=True, exist_ok=True)
        with (directory / split / "rows.jsonl").open("w", encoding="utf-8") as stream:
            for number in range(count):
                prompt = f"{number}: {sentence(rng, 2, 9)}"
                right, wrong = f"{prompt.split()[1]} yes", f"no {sentence(rng, 1, 6)}"
                if form == "pairs":
                    row: dict[str, Any] = {"prompt": prompt, "chosen": right, "rejected": wrong}
                elif form == "marked":
                    good = number % 2 == 0
                    row = {"prompt": prompt, "completion": right if good else wrong, "label": good}
                else:
                    row = {"input": prompt, "output": right}
                stream.write(json.dumps(row) + "\n")
    return directory
