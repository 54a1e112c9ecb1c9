"""A real, tiny GGUF file, written here, becomes a safetensors directory of the same model."""

import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer

from det_files import gguf_conversion
from det_files.faults import ConfigError
from det_files.gguf_conversion import convert_gguf, find_gguf

ROOT = Path(__file__).resolve().parent.parent
HIDDEN, LAYERS, HEADS, KEY_HEADS, WIDE = 32, 2, 4, 2, 64
SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "he ll", "Ġ o"]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = [
    "hello over there",
    ' {"a": 12}\n\tdéjà vu 日本 🙂',
    "<|im_start|>user\nhell o<|im_end|>\n",
]


def vocabulary() -> list[str]:
    return [*SPECIAL, *sorted(ByteLevel.alphabet()), *(m.replace(" ", "") for m in MERGES)]


def write_gguf(path: Path, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Writes a llama with random weights (seed 0), whose padding token is its end token."""
    tokens = vocabulary()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges(MERGES)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for name, tensor in tensors(len(tokens)).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(vocabulary_size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.2, shape).astype(np.float32)

    keys = HIDDEN // HEADS * KEY_HEADS
    found = {"token_embd.weight": draw(vocabulary_size, HIDDEN), "output_norm.weight": draw(HIDDEN)}
    for layer in range(LAYERS):
        shapes = {
            "attn_q": (HIDDEN, HIDDEN),
            "attn_k": (keys, HIDDEN),
            "attn_v": (keys, HIDDEN),
            "attn_output": (HIDDEN, HIDDEN),
            "ffn_gate": (WIDE, HIDDEN),
            "ffn_up": (WIDE, HIDDEN),
            "ffn_down": (HIDDEN, WIDE),
            "attn_norm": (HIDDEN,),
            "ffn_norm": (HIDDEN,),
        }
        found |= {f"blk.{layer}.{name}.weight": draw(*shape) for name, shape in shapes.items()}
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def converted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("models") / "tiny"
    return convert_gguf(source, output, "float32", pad_token="<|pad|>")


def test_converted_model_gives_the_logits_of_the_gguf(source: Path, converted: Path) -> None:
    expected = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    )
    model = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32)
    ids = torch.arange(len(vocabulary()))[None, :100]  # the padding token among them
    with torch.no_grad():
        logits = model(ids).logits
        assert torch.equal(logits, expected(ids).logits)
    assert logits.std() > 0.1  # of a model that computes something


def test_tokenizer_gives_the_ids_of_the_gguf_and_the_text_back(
    source: Path, converted: Path
) -> None:
    expected = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer = AutoTokenizer.from_pretrained(converted)
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert ids == expected(text)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert tokenizer("hello")["input_ids"] == [
        vocabulary().index("hell"),
        vocabulary().index("o"),
    ]


def test_chat_template_special_tokens_and_context_length_are_kept(converted: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted)
    messages = [{"role": "user", "content": "hello"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer.model_max_length == 128


def test_pad_token_is_the_one_asked_for_everywhere(converted: Path) -> None:
    assert AutoTokenizer.from_pretrained(converted).pad_token == "<|pad|>"
    for name in ("config.json", "generation_config.json"):
        config = json.loads((converted / name).read_text())
        assert (config["pad_token_id"], config["eos_token_id"]) == (0, 2), name


def test_without_pad_token_the_files_own_is_kept_with_a_warning(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert_gguf(source, tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").pad_token == "<|im_end|>"
    assert "padding and end of answer are one token" in capsys.readouterr().out


def test_bfloat16_is_the_file_dtype_asked_for(source: Path, tmp_path: Path) -> None:
    convert_gguf(source, tmp_path / "out", "bfloat16")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    expected = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value.to(torch.bfloat16)), name


def test_second_run_does_nothing_and_says_so(
    source: Path, converted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in converted.iterdir()}
    monkeypatch.setattr(gguf_conversion, "load_gguf", lambda *_: pytest.fail("loaded again"))
    convert_gguf(source, converted, "float32", pad_token="<|pad|>")
    assert "nothing to do" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in converted.iterdir()} == before


def test_another_dtype_into_the_same_directory_is_refused(source: Path, converted: Path) -> None:
    with pytest.raises(ConfigError, match="dtype float32, asked for bfloat16"):
        convert_gguf(source, converted, "bfloat16", pad_token="<|pad|>")


def test_damaged_conversion_is_refused_by_name(source: Path, tmp_path: Path) -> None:
    output = convert_gguf(source, tmp_path / "out")
    with (output / "model.safetensors").open("ab") as stream:
        stream.truncate(1000)
    with pytest.raises(ConfigError, match=r"model\.safetensors.*delete"):
        convert_gguf(source, output)


def test_a_directory_of_something_else_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match="choose another --output"):
        convert_gguf(source, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_find_gguf_takes_a_file_or_the_only_one_of_a_directory(source: Path) -> None:
    assert find_gguf(source) == find_gguf(source.parent) == source


def test_several_gguf_files_are_listed(tmp_path: Path) -> None:
    for name in ("b.gguf", "a.gguf", "c.txt"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match=r"(?s)several.*a\.gguf.*b\.gguf") as caught:
        find_gguf(tmp_path)
    assert "c.txt" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), (b"PK\3\4 something", "not a GGUF file")]
)
def test_a_missing_or_other_file_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        convert_gguf(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_directory_without_gguf_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no \.gguf"):
        find_gguf(tmp_path)


def test_unknown_pad_token_is_refused_and_nothing_written(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not in the vocabulary"):
        convert_gguf(source, tmp_path / "out", pad_token="<|nothing|>")
    assert list(tmp_path.iterdir()) == []


def test_command_line_ends_with_2_and_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "det_files.gguf_conversion", str(tmp_path), "--output", "x"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == f"ConfigError: {tmp_path}: holds no .gguf file\n"
