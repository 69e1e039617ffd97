"""Apply behaviours of real servers to a call: refuse it, change its answer, or change the encoding of the reply."""

import re
import time
from collections.abc import Mapping

from personahub_assets.standin.bodies import BODIES
from personahub_assets.standin.budgets import BUDGETS
from personahub_assets.standin.calls import Call
from personahub_assets.standin.endpoint_troubles import ENDPOINT, SOLD
from personahub_assets.standin.envelopes import ENVELOPES, PLACES, Completion
from personahub_assets.standin.faults import GROUPS, TEXTS, Faults
from personahub_assets.standin.row_troubles import ROW
from personahub_assets.standin.stats import Stats
from personahub_assets.standin.wire import Reply, reply
from personahub_assets.standin.wrappings import Answer
from personahub_assets.standin.wrong_answers import ANSWERS

_SOLD_ROWS = {"row_empty", "row_sensitive"}


class Behaviour:
    """Applies the faults of `faults.GROUPS`; it costs no time if none are configured."""

    def __init__(self, faults: Faults, stats: Stats) -> None:
        self.faults, self.stats = faults, stats
        self._groups = {group for group in GROUPS if faults.has(group)}
        self._began: float | None = None
        self._firsts: set[str] = set()

    def trouble(self, call: Call, repeat: int, headers: Mapping[str, str]) -> Reply | None:
        """Returns the reply that replaces the completion, or None."""
        kind = self._drawn("endpoint", call, repeat) if "endpoint" in self._groups and self._is_time() else None
        if kind and not (kind == "proxy_login" and "proxy-authorization" in headers):
            self._note(kind, is_sold=kind in SOLD)
            return ENDPOINT[kind].make(headers.get("authorization", "").removeprefix("Bearer "))
        return self._row_trouble(call) if "row" in self._groups else None

    def answer(self, call: Call, repeat: int, content: str) -> str:
        """Returns the answer after a wrong final answer, if it has one."""
        kind = self._drawn("answer", call, repeat)
        changed = (
            ANSWERS[kind].make(content, self.faults.variant(b"%d %s" % (repeat, call.digest), 1 << 16))
            if kind
            else content
        )
        if kind and changed != content:
            self._note(kind)
        return changed

    def text(self, call: Call, repeat: int, content: str) -> tuple[str, bool]:
        """Returns the text after text faults, and whether it is still usable."""
        is_met = "text" in self._groups and self.faults.schema in ("", call.schema_name)
        kind = self._drawn("text", call, repeat) if is_met and isinstance(call.order.schema, dict) else None
        if not kind:
            return content, True
        self._note(kind)
        form = TEXTS[kind]
        return form.make(Answer(content, call.order.schema, call.schema_name, call.asked)), form.is_usable

    def reply(self, call: Call, repeat: int, completion: Completion, *, is_usable: bool) -> tuple[Reply, bool]:
        """Returns the completion as an HTTP reply after envelope and body faults, and whether it is still usable."""
        if not self._groups or not completion["choices"][0]["message"]["content"]:
            return reply(completion), is_usable
        is_short = self._cut(call, repeat, completion)
        forms = []
        for group, table in {"place": PLACES, "envelope": ENVELOPES}.items():
            kind = None if is_short else self._drawn(group, call, repeat)
            if kind and self._is_time():
                self._note(kind)
                forms.append(table[kind])
        for form in forms:
            form.make(completion)
        packed, is_whole = self._packed(call, repeat, reply(completion))
        return packed, is_usable and is_whole and not is_short and all(form.is_usable for form in forms)

    def _row_trouble(self, call: Call) -> Reply | None:
        text = call.asked
        kind = self.faults.of_group("row", text.encode("utf-8", "replace")) if self._is_met(text) else None
        if not kind:
            return None
        self._note(kind, is_sold=kind in _SOLD_ROWS)
        number = re.search(rf"{re.escape(self.faults.only)}\W*(\d+)", text) if self.faults.only else None
        return ROW[kind].make(int(number[1]) if number else self.faults.variant(call.prompt_digest, 1 << 16))

    def _is_met(self, prompt: str) -> bool:
        """Tells whether row faults apply to this text: it contains the word `only` and is among the `first` texts."""
        if self.faults.only not in prompt:
            return False
        if self.faults.first and len(self._firsts) < self.faults.first:
            self._firsts.add(prompt)
        return not self.faults.first or prompt in self._firsts

    def _is_time(self) -> bool:
        """Tells whether the endpoint fault is active now."""
        faults = self.faults
        if self.stats.good < faults.after or (faults.until and self.stats.calls > faults.until):
            return False
        if self._began is None:
            self._began = time.monotonic()
        return not faults.trouble_s or time.monotonic() - self._began < faults.trouble_s

    def _cut(self, call: Call, repeat: int, completion: Completion) -> bool:
        """Cuts an answer if `max_tokens` is too small; tells whether it did."""
        kind = self._drawn("budget", call, repeat)
        if not kind or call.room >= self.faults.needed_tokens:
            return False
        self._note(kind)
        choice = completion["choices"][0]
        fields, choice["finish_reason"] = BUDGETS[kind].make(choice["message"]["content"])
        choice["message"].update(fields)
        spent = {"completion_tokens": call.room, "total_tokens": call.prompt_tokens + call.room}
        completion["usage"].update(spent)
        if fields["content"] is None:
            completion["usage"]["completion_tokens_details"] = {"reasoning_tokens": call.room}
        return True

    def _packed(self, call: Call, repeat: int, answer: Reply) -> tuple[Reply, bool]:
        kind = self._drawn("body", call, repeat)
        if not kind:
            return answer, True
        self._note(kind)
        return BODIES[kind].make(answer), BODIES[kind].is_usable

    def _drawn(self, group: str, call: Call, repeat: int) -> str | None:
        return self.faults.of_group(group, b"%d %s" % (repeat, call.digest)) if group in self._groups else None

    def _note(self, kind: str, *, is_sold: bool = False) -> None:
        self.stats.faults[kind] += 1
        self.stats.sold += is_sold
