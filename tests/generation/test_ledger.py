"""The ledger of a batch API: whatever comes back, each line that was asked has its first answer, and no other."""

import json
import os
import tempfile
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.generation.batch_api.channel import list_counts, read_answers
from personahub_assets.generation.batch_api.ledger import Ledger, drop, open_submissions, pending_requests
from personahub_assets.generation.retention import maintain
from personahub_assets.store.tables import Store

NAMES = [f"k{number}-0" for number in range(6)]


def output(name: str, answer: int) -> bytes:
    body = {"choices": [], "answer": answer}
    return json.dumps({"custom_id": name, "response": {"status_code": 200, "body": body}}).encode() + b"\n"


@given(
    lines=st.lists(st.tuples(st.sampled_from([*NAMES, "never-asked"]), st.integers(0, 99)), max_size=15),
    cut=st.integers(0, 30),
)
def test_each_line_has_its_first_readable_answer(lines: list[tuple[str, int]], cut: int) -> None:
    content = b"".join(output(*line) for line in lines)
    content = content[: len(content) - cut] if cut < len(content) else content
    whole = [line for line in content.split(b"\n")[:-1] if line]
    first = {}
    for text, (name, answer) in zip(whole, lines, strict=False):
        assert json.loads(text)["custom_id"] == name
        first.setdefault(name, answer)
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "a.sqlite") as ledger:
        for name in NAMES:
            ledger.collect(name, name[:2], "p", b"{}", 1)
        submission = ledger.begin("s", "http://a/v1", "m", 10, 10_000)
        assert submission is not None
        with tempfile.TemporaryFile() as file:
            file.write(content)
            counts = list_counts(file)
            stored, ignored = ledger.answer(submission, read_answers(file))
        # A last line without its newline can be whole.
        assert 0 <= counts.readable - len(whole) <= 1
        assert (stored + ignored, counts.readable + counts.unreadable) == (counts.readable, len(content.splitlines()))
        ended = ledger.update(submission, state="ended")
        if counts.readable == len(whole):
            for name in NAMES:
                line = ledger.line(name)
                assert line is not None
                assert (json.loads(line.reply)["answer"] if line.reply else None) == first.get(name)
        assert ledger.count(ended).answered == stored


def test_files_have_at_most_so_many_lines_and_bytes(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.sqlite") as ledger:
        for number in range(10):
            ledger.collect(f"k{number}-0", f"k{number}", "p", b"x" * 900, 1)
        totals = []
        while submission := ledger.begin(str(len(totals)), "http://a/v1", "m", 4, 3_000):
            totals.append(submission.total)
            assert len(list(ledger.lines_of(submission))) == submission.total
    assert totals == [3, 3, 3, 1]


def test_published_requests_leave_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Ledger(path) as ledger:
        for key in ("used", "unused"):
            ledger.collect(f"{key}-0", key, "p", b"{}", 1)
        submission = ledger.begin("s", "http://a/v1", "m", 10, 10_000)
        assert submission is not None
        ledger.settle(lambda key: key == "used")
        assert ledger.line("used-0") is not None  # still with the provider
        assert pending_requests(path, ["used"]) == set()  # not sent for certain
        ledger.answer(submission, [("used-0", 200, b"{}"), ("unused-0", 200, b"{}")])
        ledger.update(submission, state="ended")
        assert pending_requests(path, ["used", "unused", "x"]) == {"used", "unused"}
        ledger.settle(lambda key: key == "used")
        assert (ledger.line("used-0"), ledger.is_empty) == (None, False)
        ledger.settle(lambda _key: True)
        assert ledger.is_empty
    drop(path)
    assert open_submissions(path) == []


def test_unused_answers_end_with_their_retention(tmp_path: Path) -> None:
    store = Store(home=str(tmp_path))
    old, open_one = store.paths.ledger("tools", "old"), store.paths.ledger("tools", "open")
    for path in (old, open_one):
        with Ledger(path) as ledger:
            ledger.collect("k-0", "k", "p", b"{}", 1)
            submission = ledger.begin("s", "http://a/v1", "m", 10, 10_000)
            assert submission is not None
            if path == old:
                ledger.update(submission, state="ended")
    for path in (old, open_one):
        os.utime(path, (time.time() - 40 * 86_400,) * 2)
    assert maintain(store).leftovers == 1
    assert (old.exists(), open_one.exists()) == (False, True)
