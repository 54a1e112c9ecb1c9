"""What models are asked, as token ids: each row that cannot be is named."""

from __future__ import annotations

import pytest
from export_checkpoints import Adapters

from det_files.evaluation.from_models import make_prompts
from det_files.evaluation.questions import AskedRow
from det_files.faults import ConfigError
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.model import load_trained

SYSTEM = {"role": "system", "content": "be short"}


def test_rows_that_the_template_refuses_are_all_named(adapters: Adapters) -> None:
    trained = load_trained(open_checkpoint(adapters("lora")))
    trained.tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    (source,) = trained.data.settled_sources()
    user = {"role": "user", "content": "cat"}
    rows = [
        AskedRow({"messages": messages}, f"line {number}", source)
        for number, messages in enumerate(([user], [SYSTEM, user], [user], [SYSTEM, user]), 1)
    ]
    with pytest.raises(ConfigError) as caught:
        make_prompts(trained, rows)
    named = [str(fault).partition(":")[0] for fault in caught.value.faults]
    assert named == ["line 2", "line 4"]
