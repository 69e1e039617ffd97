"""Faults of the batch API: what a provider does with a file of requests besides answering each once, in order.

A fault in `ONCE` meets the first batch, upload or download only, so that a client that repeats its work comes through.
"""

import json
from collections.abc import Callable

from personahub_assets.standin.forms import Form

Lines = list[bytes]
Change = Callable[[Lines], Lines]
"""Changes the lines of an output file, each with its newline."""

_FOREIGN = {
    "id": "batch_req_0",
    "custom_id": "a-line-of-another-batch",
    "response": {"status_code": 200, "request_id": "0", "body": {"choices": [{"message": {"content": "{}"}}]}},
    "error": None,
}


def _same(lines: Lines) -> Lines:
    return lines


def _doubled(lines: Lines) -> Lines:
    """The last line again in front, with another answer behind the first one."""
    if not lines:
        return lines
    again = {**json.loads(lines[-1]), "id": "batch_req_again"}
    again["response"] = {**_FOREIGN["response"], "request_id": "again"}  # type: ignore[dict-item]
    return [*lines, json.dumps(again).encode() + b"\n"]


def _with_foreign(lines: Lines) -> Lines:
    return [*lines, json.dumps(_FOREIGN).encode() + b"\n"]


def _torn(lines: Lines) -> Lines:
    return [*lines[:-1], lines[-1][: len(lines[-1]) // 2]] if lines else lines


BATCH_FAULTS: dict[str, Form[Change]] = {
    "unordered": Form("output lines in another order", lambda lines: lines[::-1]),
    "doubled": Form("an output line twice, with two answers", _doubled),
    "foreign": Form("an output line that was never asked", _with_foreign),
    "missing": Form("the first batch: a line in neither output nor error file", lambda lines: lines[1:]),
    "torn": Form("the first batch: an output file that ends in the middle of a line", _torn),
    "torn_download": Form("the first download ends in the middle of a line", _same),
    "failed_lines": Form("the first batch: every third line fails with a 500", _same),
    "refused_lines": Form("every line fails with a 400", _same),
    "expired": Form("the first batch expires when half of its lines are answered", _same),
    "invalid": Form("the first batch fails its validation", _same),
    "stuck": Form("the first batch stays half done until it is canceled", _same),
    "hang_upload": Form("the first upload is stored and not answered", _same),
    "hang_submit": Form("the first batch is created and the reply never sent", _same),
    "hang_download": Form("the first download is not answered", _same),
    "lose_submit": Form("the first batch is neither created nor answered", _same),
    "no_list": Form("the first time, no list of batches", _same),
    "late_list": Form("a list of batches without the newest, the first time", _same),
    "late_output": Form("the first look at an ended batch names no output file", _same),
    "page_upload": Form("the first upload is answered with a page of HTML", _same),
    "page_status": Form("the first look at a batch is answered with a page of HTML", _same),
    "page_download": Form("every download is a page of HTML", _same),
    "no_metadata": Form("batches without their metadata", _same),
}
ONCE = frozenset(BATCH_FAULTS) - {"unordered", "doubled", "foreign", "refused_lines", "no_metadata", "page_download"}
CHANGING = frozenset(name for name, form in BATCH_FAULTS.items() if form.make is not _same)
"""Faults that change the lines of an output file."""
