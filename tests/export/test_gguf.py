"""`gguf`: what transformers reads back from the file is the model and the tokenizer of training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from export_checkpoints import Adapters, as_checkpoint, contents, edit_json, export
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from det_files.export.gguf import permute
from det_files.faults import ConfigError
from det_files.gguf_conversion import convert_gguf
from tiny import CHAT_TEMPLATE, WORDS, make_model

IDS = torch.arange(0, 120)[None]
TEXTS = [
    "the red cat sees two trees",
    "  Déjà vu\n\t日本 12345",
    "<|im_start|>user\nthe cat<|im_end|>",
]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS).logits
    return found


def load(directory: Path, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, **options)


def field(file: Path, name: str) -> Any:
    return gguf.GGUFReader(str(file)).fields[name].contents()


def changed_model(directory: Path, architecture: str = "llama", **changes: Any) -> Path:
    """A checkpoint of a tiny model whose norms and biases, too, are drawn."""
    make_model(directory, architecture, **changes)
    model = load(directory)
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.2)
    model.save_pretrained(directory)
    return as_checkpoint(directory)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 4, "head_dim": 16}),
        ("mistral", {"sliding_window": None}),
        ("qwen2", {}),
        # A GGUF of Qwen3 has its head's width, but transformers reads back the usual one.
        ("qwen3", {"head_dim": 128}),
    ],
)
def test_the_file_read_back_gives_the_logits(
    tmp_path: Path, architecture: str, changes: dict[str, Any]
) -> None:
    checkpoint = changed_model(tmp_path / "model", architecture, **changes)
    output = export(checkpoint, "gguf", tmp_path / "out", "--check")
    assert set(contents(output)) == {"README.md", "model-F32.gguf"}
    found = logits(load(output, gguf_file="model-F32.gguf"))
    expected = logits(load(checkpoint))
    assert (found - expected).abs().max() < 1e-5
    assert expected.std() > 0.05


def test_tokenizer_and_chat_template_come_with_it(tmp_path: Path) -> None:
    checkpoint = changed_model(tmp_path / "model", vocab_size=400)  # more rows than tokens
    output = export(checkpoint, "gguf", tmp_path / "out")
    expected = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(output, gguf_file="model-F32.gguf")
    assert [tokenizer(t)["input_ids"] for t in TEXTS] == [expected(t)["input_ids"] for t in TEXTS]
    assert tokenizer.chat_template == CHAT_TEMPLATE
    for name in ("bos_token", "eos_token", "pad_token"):
        assert getattr(tokenizer, name) == getattr(expected, name)
    assert field(output / "model-F32.gguf", "tokenizer.ggml.pre") == "gpt-2"


def test_our_own_conversion_takes_it_back(tmp_path: Path) -> None:
    checkpoint = changed_model(tmp_path / "model")
    output = export(checkpoint, "gguf", tmp_path / "out")
    back = convert_gguf(output, tmp_path / "back")
    assert torch.equal(logits(load(back)), logits(load(checkpoint)))


def test_bfloat16_matrices_and_float32_vectors(tmp_path: Path) -> None:
    checkpoint = changed_model(tmp_path / "model")
    output = export(checkpoint, "gguf", tmp_path / "out", "--dtype", "bfloat16", "--check")
    kinds = {
        tensor.name: tensor.tensor_type.name
        for tensor in gguf.GGUFReader(str(output / "model-BF16.gguf")).tensors
    }
    assert kinds["blk.0.attn_norm.weight"] == kinds["output_norm.weight"] == "F32"
    assert {kind for name, kind in kinds.items() if "norm" not in name} == {"BF16"}
    rounded = load(checkpoint)
    for parameter in rounded.parameters():
        parameter.data = parameter.data.bfloat16().float()
    found = load(output, gguf_file="model-BF16.gguf")
    assert (logits(found) - logits(rounded)).abs().max() < 1e-5


def test_an_adapter_is_merged_first(adapters: Adapters, tmp_path: Path) -> None:
    merged = export(adapters("lora"), "merged", tmp_path / "merged")
    output = export(adapters("lora"), "gguf", tmp_path / "out", "--check")
    found = logits(load(output, gguf_file="model-F32.gguf"))
    assert (found - logits(load(merged))).abs().max() < 1e-5


def test_permutation_makes_neighbours_of_rotary_pairs() -> None:
    rows = torch.arange(8)[:, None]  # two heads of four rows
    assert permute(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize("name", ["llama-bpe", "qwen2"])
def test_known_ways_to_split_are_named(tmp_path: Path, name: str) -> None:
    checkpoint = changed_model(tmp_path / "model")
    fast = AutoTokenizer.from_pretrained(checkpoint)
    fast.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(GGUF_PRE_TOKENIZER_SPLITS[name]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    fast.save_pretrained(checkpoint)
    output = export(checkpoint, "gguf", tmp_path / "out", "--check")
    assert field(output / "model-F32.gguf", "tokenizer.ggml.pre") == name
    tokenizer = AutoTokenizer.from_pretrained(output, gguf_file="model-F32.gguf")
    assert [tokenizer(t)["input_ids"] for t in TEXTS] == [fast(t)["input_ids"] for t in TEXTS]


def make_sentencepiece(directory: Path) -> None:
    """A tokenizer as Llama 2's: BPE over ▁ with bytes for what it does not know."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=384, special_tokens=special, show_progress=False)
    splitting = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    learner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    learner.pre_tokenizer = splitting
    learner.train_from_iterator([" ".join(WORDS[i:] + WORDS[:i]) for i in range(40)], trainer)
    tokenizer.model = learner.model
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.add_special_tokens({"pad_token": "<unk>"})
    fast.save_pretrained(directory)


def test_sentencepiece_is_read_back(tmp_path: Path) -> None:
    checkpoint = changed_model(tmp_path / "model")
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (checkpoint / file).unlink()
    make_sentencepiece(checkpoint)
    output = export(checkpoint, "gguf", tmp_path / "out", "--check")
    file = output / "model-F32.gguf"
    assert field(file, "tokenizer.ggml.model") == "llama"
    expected = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(output, gguf_file=file.name)
    for text in ("the red cat sees two trees", "one two three 日本 red", "cat"):
        assert tokenizer(text)["input_ids"] == expected(text)["input_ids"], text
    types = field(file, "tokenizer.ggml.token_type")
    tokens = field(file, "tokenizer.ggml.tokens")
    assert types[tokens.index("<0x41>")] == gguf.TokenType.BYTE
    assert types[tokens.index("<unk>")] == gguf.TokenType.UNKNOWN
    assert types[tokens.index("</s>")] == gguf.TokenType.CONTROL


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "gpt_neox"}, "the architecture gpt_neox is none of llama, mistral"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "linear"),
        ({"attention_bias": True}, "biases"),
        ({"model_type": "mistral", "sliding_window": 5}, "a window of 5 tokens"),
    ],
)
def test_what_cannot_be_read_back_is_llama_cpps_own(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    checkpoint = as_checkpoint(make_model(tmp_path / "model"))
    edit_json(checkpoint / "config.json", **changes)
    with pytest.raises(ConfigError, match=said) as caught:
        export(checkpoint, "gguf", tmp_path / "out")
    assert "convert_hf_to_gguf.py" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_another_way_to_split_text_is_refused(tmp_path: Path) -> None:
    checkpoint = as_checkpoint(make_model(tmp_path / "model"))
    fast = AutoTokenizer.from_pretrained(checkpoint)
    for change in (
        ("pre_tokenizer", pre_tokenizers.Digits()),
        ("normalizer", normalizers.Lowercase()),
    ):
        copy = Path(shutil.copytree(checkpoint, tmp_path / change[0]))
        setattr(fast.backend_tokenizer, *change)
        fast.save_pretrained(copy)
        with pytest.raises(ConfigError, match=r"no name in GGUF.*convert_hf_to_gguf\.py"):
            export(copy, "gguf", tmp_path / "out")
        fast = AutoTokenizer.from_pretrained(checkpoint)
