"""Write pairs of preferences: an order's right JSON object, and one with a single wrong value.

    python data/preferences/make_data.py            # rewrites {train,val,test}/*.jsonl
    python data/preferences/make_data.py --check    # writes nothing; exits 1 where files differ

A row is `{"prompt": message, "chosen": JSON, "rejected": JSON}`, made of a row of data/quickstart.
The wrong value is another row's of the same split, so that only reading the message tells which
answer is right. The same bytes are written each time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

SEED = 20240301
ROWS = {"train": 600, "val": 100, "test": 100}
QUICKSTART = Path(__file__).parent.parent / "quickstart"


def make_split(split: str) -> str:
    """Returns the text of a split's file."""
    rng = random.Random(f"{SEED}-{split}")
    lines = (QUICKSTART / split / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    orders = [json.loads(row["output"]) for row in rows]
    made = []
    for row, order in list(zip(rows, orders, strict=True))[: ROWS[split]]:
        key = rng.choice(list(order))
        others = [other[key] for other in orders if other[key] != order[key]]
        wrong = order | {key: rng.choice(others)}
        pair = {"prompt": row["input"], "chosen": row["output"], "rejected": json.dumps(wrong)}
        made.append(json.dumps(pair) + "\n")
    return "".join(made)


def main(argv: list[str] | None = None) -> int:
    """Writes the three files, or compares them with what they should be; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, exit 1 where the files differ"
    )
    args = parser.parse_args(argv)
    stale = []
    for split in ROWS:
        path = Path(__file__).parent / split / f"{split}.jsonl"
        text = make_split(split)
        if not args.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path))
    if stale:
        print(f"not what make_data.py writes: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
