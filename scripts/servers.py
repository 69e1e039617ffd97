"""Run a batch against servers with many behaviours, all played by the stand-in, and write a table of the results.

    make servers                        all scenarios, and writes the table in docs/servers.md
    make servers ONLY="think fence"     some scenarios, without the table

Each scenario has its own home, stand-in and 30 documents. Paid answers are those that cost tokens; one is needed for
each delivered document. The exit code is 1 if a run does not end as expected.
"""

import argparse
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from personahub_assets import Hub
from personahub_assets.core.errors import PersonaHubError
from personahub_assets.standin.endpoint_troubles import ENDPOINT
from personahub_assets.standin.envelopes import ENVELOPES, PLACES
from personahub_assets.standin.faults import GROUPS
from personahub_assets.standin.limits import LIMITS
from personahub_assets.standin.model_lists import MODEL_LISTS
from personahub_assets.standin.needs import NEEDS
from personahub_assets.standin.nonsense import NONSENSE
from personahub_assets.standin.row_troubles import ROW, TOO_LONG
from personahub_assets.standin.server import StandinServer
from personahub_assets.standin.vectors import VECTORS
from personahub_assets.standin.wrappings import WRAPPINGS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "servers.md"
MARKERS = ("<!-- servers:begin -->", "<!-- servers:end -->")
MARK = "MARKED"  # the word in the documents that a server fails on
DOCUMENTS = 30
MOST = 1.02
KEY = "sk-canary-of-the-table"
_FAILED, _LEFT, _ANY = (1,), (1, 3, 4), (0, 1, 3, 4)
_NOT_JUDGED = ("chinese", "escape_html")  # valid answers, although poor ones
_WORKERS = (os.cpu_count() or 1) + 1
_SLOW = ("limit", "loading", "gateway", "overloaded")

_PEOPLE = ["A potter", "ferry pilot", "beekeeper", "court clerk", "glazier", "night nurse"]
_PLACES = ["the harbour", "a mountain village", "the old market", "an island", "the river delta"]
_DOINGS = (
    "explained how the kiln is fired slowly so that the large bowls do not crack on the second day",
    "described which repairs the boats need before the autumn storms make the crossing dangerous",
    "listed the mistakes that beginners make with ledgers, seals and the dates of deliveries",
    "compared three ways to keep young trees alive through a dry summer without a pump",
    "told the council why the last bus matters to everybody who works after ten at night",
    "measured the noise of the new turbines and wrote down when the birds came back to nest",
)


@dataclass(frozen=True)
class Scenario:
    """A behaviour of a server, and the expected result of a run.

    Attributes:
        name: the fault or setting; several scenarios of one fault have a suffix after `@`.
        about: what the server does.
        faults: faults of the stand-in.
        documents: texts of the documents; None is 30 plain ones.
        settings: contents of hub.toml.
        delivered: documents with personas at the end; None for any number.
        reasons: numbers of quarantined documents by reason, and of personas without a vector; None for any.
        exits: expected exit codes.
        most: maximum of paid answers per needed one; None for no limit.
        runs: number of runs.
        then_well: whether a last run follows with a server without faults; its exit code is ignored.
        select: selected assets.
        embeds: whether the stand-in embeds the personas, too.
        key: an API key that must not be printed.
        proxy: HTTP_PROXY of the run; `{}` stands for host and port of the stand-in, which plays proxy and server.
        tells: words that the run must print.
    """

    name: str
    about: str
    faults: str
    documents: tuple[str, ...] | None = None
    settings: str = ""
    delivered: int | None = DOCUMENTS
    reasons: dict[str, int] | None = field(default_factory=dict)
    exits: tuple[int, ...] = (0,)
    most: float | None = MOST
    runs: int = 1
    then_well: bool = False
    select: tuple[str, ...] = ("+text_personas",)
    embeds: bool = False
    key: str | None = None
    proxy: str = ""
    tells: str = ""


@dataclass
class Outcome:
    """Result of a run."""

    delivered: int
    reasons: dict[str, int]
    exit_code: int
    sold: int
    seconds: float
    told: str

    def wrong(self, right: Scenario) -> list[str]:
        """Differences from the expected result."""
        checks = {
            f"{right.delivered} rows": right.delivered in (None, self.delivered),
            f"reasons {right.reasons}": right.reasons is None or self.reasons == right.reasons,
            f"exit code {' or '.join(map(str, right.exits))}": self.exit_code in right.exits,
            f"at most {right.most} paid per needed": right.most is None
            or self.sold <= right.most * (self.delivered or 1),
            "no traceback": "Traceback" not in self.told,
            "no key": right.key is None or right.key not in self.told,
            f"to hear of {right.tells}": right.tells in self.told,
        }
        return [name for name, is_right in checks.items() if not is_right]

    @property
    def ratio(self) -> str:
        """Paid ÷ needed, or the paid answers if none was needed."""
        return f"{self.sold / self.delivered:.2f}" if self.delivered else f"{self.sold} for none"


def plain(count: int = DOCUMENTS) -> tuple[str, ...]:
    """Distinct texts of documents."""
    people = [person for person in _PEOPLE if person]
    return tuple(
        f"The {people[n % len(people)].lower()} from {_PLACES[n % len(_PLACES)]} {_DOINGS[n // 5 % len(_DOINGS)]}. "
        f"Visitor number {n + 101} asked what it costs, and got the answer that {n + 3} weeks of work are cheap."
        for n in range(count)
    )


def marked(count: int) -> tuple[str, ...]:
    """Texts with the word that a server fails on, numbered."""
    return tuple(f"{MARK} {n}. {text}" for n, text in enumerate(plain(DOCUMENTS + count)[DOCUMENTS:]))


def scenarios() -> list[Scenario]:
    """All scenarios."""
    groups = (
        _usable(),
        _unusable(),
        _beside(),
        _bodies(),
        _proxied(),
        _cut(),
        _endpoint(),
        _rows(),
        _limited(),
        _needed(),
        _lists(),
        _embedded(),
    )
    return [scenario for group in groups for scenario in group]


def _usable() -> Iterator[Scenario]:
    yield Scenario("plain", "answers", "")
    for name, form in WRAPPINGS.items():
        yield Scenario(name, form.words, f"{name}=1")


def _unusable() -> Iterator[Scenario]:
    """No such answer may be stored, and a run stops before it has paid for many."""
    yield Scenario(
        "description_echo@dataset", "personas are right, the dataset has the schema's descriptions",
        "description_echo=1,schema=MathProblem", settings="[related_personas]\nhops = 0\n", reasons=None, exits=_LEFT,
        most=4, select=("+math_problems",),
    )  # fmt: skip
    for name, form in NONSENSE.items():
        if name in _NOT_JUDGED:
            yield Scenario(
                name, f"{form.words} (not judged)", f"{name}=1", delivered=None, reasons=None, exits=_ANY, most=None
            )
            continue
        yield Scenario(name, form.words, f"{name}=1", delivered=0, reasons=None, exits=_LEFT, most=3 * 25)


def _beside() -> Iterator[Scenario]:
    for name, form in ENVELOPES.items():
        if name != "other_model":
            yield Scenario(name, form.words, f"{name}=1")
    yield Scenario("tier_standard@some", "a router: one in three has an unknown tier", "tier_standard=0.33")
    yield Scenario("other_model", "the name of another model", "other_model=1")
    strict = "[generation]\nmodel_must_match = true\n"
    yield Scenario(
        "other_model@strict", "the same, with model_must_match", "other_model=1", settings=strict, delivered=0,
        reasons=None, exits=_LEFT, most=100,
    )  # fmt: skip
    yield Scenario(
        "other_model@later", "another model after ten answers, with model_must_match", "other_model=1,after=10",
        settings=strict, exits=_LEFT, most=1.7, then_well=True,
    )  # fmt: skip
    for name, form in PLACES.items():
        if form.is_usable:
            yield Scenario(name, form.words, f"{name}=1")
    yield Scenario("content_null", "now and then neither content nor reasoning", "content_null=0.1", most=1.6)
    yield Scenario(
        "provider_died", "now and then half an answer and an error; run twice", "provider_died=0.3", most=2.0, runs=2
    )  # fmt: skip


def _bodies() -> Iterator[Scenario]:
    for name, form in GROUPS["body"].items():
        if form.is_usable:
            yield Scenario(name, form.words, f"{name}=1")
    yield Scenario("body_cut", "one body in three breaks off", "body_cut=0.33", most=2.2)
    yield Scenario(
        "br_broken", GROUPS["body"]["br_broken"].words, "br_broken=1", delivered=0, reasons=None, exits=_LEFT, most=100
    )  # fmt: skip


def _proxied() -> Iterator[Scenario]:
    """A company's proxy in front of a server that only it can reach."""
    proxy, wait = "http://{}", "[generation]\nlongest_wait = 20\n"
    yield Scenario("close_each@proxy", "a proxy that closes each connection", "close_each=1", proxy=proxy)
    yield Scenario(
        "proxy_login", f"{ENDPOINT['proxy_login'].words}; none come", "proxy_login=1", delivered=0, reasons=None,
        exits=_FAILED, proxy=proxy, tells="HTTP_PROXY",
    )  # fmt: skip
    yield Scenario(
        "proxy_login@known", f"{ENDPOINT['proxy_login'].words}; they come", "proxy_login=1", key=KEY,
        proxy=f"http://ann:{KEY}@{{}}",
    )  # fmt: skip
    for name in ("proxy_blocked", "proxy_lost"):
        yield Scenario(
            name, f"{ENDPOINT[name].words}, after ten answers; then it is well", f"{name}=1,after=10", settings=wait,
            exits=_LEFT, most=1.1, then_well=True, proxy=proxy, tells="HTTP_PROXY",
        )  # fmt: skip
    yield Scenario("plain@proxy", "a proxy that is down, and a server on this machine", "", proxy="http://127.0.0.1:9")


def _cut() -> Iterator[Scenario]:
    for name, form in GROUPS["budget"].items():
        tokens = 6000 if name == "reasoning_ate_budget" else 1500
        roomy = f"[text_personas]\nmax_tokens = {tokens}\n"
        yield Scenario(f"{name}@room", f"{form.words}; with room", f"{name}=1,needed_tokens={tokens}", settings=roomy)
        tight = "[text_personas]\nmax_tokens = 64\n"
        yield Scenario(
            name, form.words, f"{name}=1,needed_tokens=30000", settings=tight, delivered=0, reasons=None, exits=_LEFT,
            most=100,
        )  # fmt: skip


def _endpoint() -> Iterator[Scenario]:
    for name, form in ENDPOINT.items():
        if not name.startswith("proxy_") and name not in (
            "loading",
            "not_written",
            "empty_choices",
            "moved_308",
            "moved_301",
        ):
            yield from _given_up(name, form.words)
    yield Scenario("loading", "503 Loading model for 15 s, after ten answers", "loading=1,after=10,trouble_s=15")
    yield Scenario("not_written", "400 json_validate_failed, three in ten", "not_written=0.3", most=1.8)
    yield Scenario("not_written@first", "the same for the first two calls", "not_written=1,until=2", most=1.2)
    about = ENDPOINT["empty_choices"].words
    yield Scenario(
        "empty_choices", f"{about}, after ten answers", "empty_choices=1,after=10", delivered=10, reasons={"empty": 20},
        exits=_LEFT, most=9,
    )  # fmt: skip
    yield Scenario(
        "empty_choices@start", f"{about}, from the start", "empty_choices=1", delivered=0, reasons=None, exits=_LEFT,
        most=90,
    )  # fmt: skip
    yield Scenario("moved_308", ENDPOINT["moved_308"].words, "moved_308=1")
    yield Scenario("moved_301", ENDPOINT["moved_301"].words, "moved_301=1")


def _given_up(name: str, about: str) -> Iterator[Scenario]:
    """A run ends with an error and does not quarantine the remaining rows: a later run sends only these."""
    wait = "[generation]\nlongest_wait = 20\n"
    key = KEY if name == "key_echo" else None
    most = None if name == "gateway_504" else 1.1
    for suffix, start, faults in (
        ("", "after ten answers", f"{name}=1,after=10"),
        ("@start", "from the start", f"{name}=1"),
    ):
        told = f"{about}, {start}; then it is well"
        yield Scenario(f"{name}{suffix}", told, faults, None, wait, exits=_LEFT, most=most, then_well=True, key=key)


def _rows() -> Iterator[Scenario]:
    reasons = {
        "row_flagged": "content_filtered",
        "row_empty": "empty",
        "row_filtered": "content_filtered",
        "row_risk": "content_filtered",
        "row_sensitive": "content_filtered",
    }
    for name, form in ROW.items():
        if name == "row_too_long":
            continue
        expected = {reasons[name]: 4} if name in reasons else None
        yield Scenario(
            name, f"{form.words}: 4 of 34", f"{name}=1,only={MARK}", (*plain(), *marked(4)), reasons=expected,
            exits=_LEFT if expected is None else (0, 3), most=1.7,
        )  # fmt: skip
        yield Scenario(
            f"{name}@again", "the same, run three times", f"{name}=1,only={MARK}", (*plain(), *marked(4)),
            reasons=expected, exits=_LEFT if expected is None else (0, 3), most=3, runs=3,
        )  # fmt: skip
    yield Scenario(
        "row_500@run", "500 on 25 documents in a row, then 30 good ones", f"row_500=1,only={MARK}",
        (*marked(25), *plain()), reasons=None, exits=_LEFT, most=2,
    )  # fmt: skip
    yield Scenario(
        "row_filtered@first", "400 of a content filter on the first three", f"row_filtered=1,only={MARK}",
        (*marked(3), *plain()), reasons={"content_filtered": 3}, exits=(0, 3),
    )  # fmt: skip
    words = len(TOO_LONG)
    yield Scenario(
        "row_too_long", f"too long, in the words of {words} servers", f"row_too_long=1,only={MARK}",
        (*plain(), *marked(words)), reasons={"too_long": words}, exits=(0, 3),
    )  # fmt: skip
    yield Scenario(
        "row_too_long@first", "the first documents are too long", f"row_too_long=1,only={MARK}",
        (*marked(words), *plain()), reasons={"too_long": words}, exits=(0, 3),
    )  # fmt: skip


def _limited() -> Iterator[Scenario]:
    for told, form in LIMITS.items():
        yield Scenario(
            f"limit_told@{told}", f"10 answers per 10 s; says {form.words}", f"limit=10,limit_s=10,limit_told={told}"
        )


def _needed() -> Iterator[Scenario]:
    """One additional answer is paid: the request that finds the requirements of the server."""
    remedies = {"no_temperature": '["temperature"]', "both_t_p": '["top_p"]'}
    for need, form in NEEDS.items():
        if need not in remedies:
            yield Scenario(f"needs@{need}", f"takes {form.words}", f"needs={need}", most=1.1)
            continue
        yield Scenario(f"needs@{need}", f"takes {form.words}", f"needs={need}", delivered=0, exits=_FAILED)
        omit = f"[generation]\nomit = {remedies[need]}\n"
        yield Scenario(f"needs@{need}-omit", f"takes {form.words}; omit is set", f"needs={need}", settings=omit)
    several = "no_ref+no_lengths+no_extra_false+no_max_tokens+no_system"
    yield Scenario("needs@several", "refuses five parameters", f"needs={several}", most=1.1)
    yield Scenario(
        "needs@only_prompt",
        "takes no schema, JSON mode or tools",
        "needs=no_json_schema+no_json_object+no_tools",
        most=1.1,
    )
    yield Scenario("needs@only_tools", "takes only tools", "needs=no_json_schema+no_json_object", most=1.1)


def _lists() -> Iterator[Scenario]:
    for name, form in MODEL_LISTS.items():
        if name != "usual":
            key = KEY if name == "key_echo" else None
            yield Scenario(f"models@{name}", f"list of models: {form.words}", f"models={name}", key=key)


def _embedded() -> Iterator[Scenario]:
    """A server of vectors that refuses some texts: their personas are kept without a vector."""
    for name, form in VECTORS.items():
        yield Scenario(
            name, f"embeddings: {form.words}, one in ten", f"{name}=0.1", reasons={"without_vector": 10}, embeds=True,
            settings="[related_personas]\nhops = 0\n", select=("+personas",),
        )  # fmt: skip
    yield Scenario(
        "vector_filtered@all", "embeddings: the same on all texts", "vector_filtered=1", reasons=None, exits=_LEFT,
        embeds=True, settings="[related_personas]\nhops = 0\n", select=("+personas",), tells="PERSONAHUB_EMBED",
    )  # fmt: skip
    yield Scenario(
        "most_texts", "embeddings: 413 above 10 texts in a request", "most_texts=10", embeds=True,
        settings="[related_personas]\nhops = 0\n", select=("+personas",),
    )  # fmt: skip


def played(scenario: Scenario) -> Outcome:
    """Run a scenario in its own home, in this process."""
    logging.disable(logging.CRITICAL)
    # Not an empty text, which counts as not set: the key of this shell must not be sent.
    os.environ["PERSONAHUB_LLM_API_KEY"] = scenario.key or "none"
    with tempfile.TemporaryDirectory(prefix="servers-") as folder, StandinServer(scenario.faults) as server:
        host = server.url.partition("://")[2].partition("/")[0]
        url = server.url.replace(host, "llm.corp.invalid") if "{}" in scenario.proxy else server.url
        os.environ.update(PERSONAHUB_LLM_URL=url, HTTP_PROXY=scenario.proxy.format(host))
        vectors = (url, "standin") if scenario.embeds else ("", "")  # of the local model
        os.environ["PERSONAHUB_EMBED_URL"], os.environ["PERSONAHUB_EMBED_MODEL"] = vectors
        started = time.monotonic()
        hub = _prepared(Path(folder), scenario, url)
        code, told = 0, ""
        for _ in range(scenario.runs):
            code, told = _ran(hub, scenario.select)
        sold = int(server.stats()["sold"])
        if scenario.then_well:
            sold += _ran_well(hub.home, scenario.select)
        return Outcome(_delivered(hub), _reasons(hub), code, sold, time.monotonic() - started, told)


def _ran_well(home: Path, select: tuple[str, ...]) -> int:
    """Run once more with a server without faults; return the number of paid answers."""
    with StandinServer() as server:
        os.environ["PERSONAHUB_LLM_URL"] = server.url
        _ran(Hub(home, llm_url=server.url, llm_model="standin"), select)
        return int(server.stats()["sold"])


def _prepared(folder: Path, scenario: Scenario, url: str) -> Hub:
    home = folder / "home"
    home.mkdir()
    (home / "hub.toml").write_text(scenario.settings, "utf-8")
    source = folder / "texts.jsonl"
    texts = scenario.documents or plain()
    source.write_text(
        "".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)), "utf-8"
    )
    hub = Hub(home, llm_url=url, llm_model="standin")
    hub.ingest(source)
    return hub


def _ran(hub: Hub, select: tuple[str, ...]) -> tuple[int, str]:
    """The exit code of a run, and its output."""
    try:
        result = hub.run(select=select)
    except PersonaHubError as error:
        return 1, str(error)
    except Exception as error:  # noqa: BLE001 - the command would end with a traceback
        return 1, f"Traceback: {error!r}"
    return result.exit_code, "; ".join(
        filter(None, [*result.failed.values(), *result.unfinished.values(), result.stopped])
    )


def _delivered(hub: Hub) -> int:
    return int(hub.table("text_personas").select("document_id").unique().collect().height)


def _reasons(hub: Hub) -> dict[str, int]:
    frame = hub.table("quarantine").collect()
    vectors = hub.table("persona_embeddings").select("embedding").collect()["embedding"]
    missing = ["without_vector"] * vectors.null_count()
    return dict(sorted(Counter([*frame["reason"].to_list(), *missing]).items()))


def table(outcomes: Iterable[tuple[Scenario, Outcome]]) -> str:
    """The table of docs/servers.md."""
    head = "| behaviour | what the server does | rows | reasons | paid ÷ needed | exit code | as it should be |"
    lines = [head, "| --- | --- | --- | --- | --- | --- | --- |"]
    for scenario, outcome in outcomes:
        reasons = ", ".join(f"{count} {name}" for name, count in outcome.reasons.items())
        wrong = outcome.wrong(scenario)
        verdict = f"no: expected {', '.join(wrong)}" if wrong else "yes"
        about = scenario.about.replace("|", "\\|")
        cells = (f"`{scenario.name}`", about, outcome.delivered, reasons, outcome.ratio, outcome.exit_code, verdict)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def chosen(names: list[str]) -> list[Scenario]:
    """The scenarios of these names, or all.

    Raises:
        SystemExit: if a name is unknown; the message lists the valid ones.
    """
    known = scenarios()
    unknown = [name for name in names if not any(_is_named(scenario, name) for scenario in known)]
    if unknown:
        sys.exit(f"no scenario {', '.join(unknown)}; valid are {', '.join(scenario.name for scenario in known)}")
    return [scenario for scenario in known if not names or any(_is_named(scenario, name) for name in names)]


def _is_named(scenario: Scenario, name: str) -> bool:
    return name in (scenario.name, scenario.name.partition("@")[0])


def all_played(wanted: list[Scenario]) -> list[tuple[Scenario, Outcome]]:
    """Play scenarios, several at once, each in its own process: budget and Dagster instance are per process."""
    found: dict[str, Outcome] = {}
    # Scenarios that mostly wait begin first.
    order = sorted(wanted, key=lambda scenario: not scenario.name.startswith(_SLOW))
    with ProcessPoolExecutor(min(_WORKERS, len(wanted)), get_context("spawn")) as pool:
        futures = {pool.submit(played, scenario): scenario for scenario in order}
        for future in as_completed(futures):
            scenario, outcome = futures[future], future.result()
            found[scenario.name] = outcome
            _say(scenario, outcome)
    return [(scenario, found[scenario.name]) for scenario in wanted]


def _say(scenario: Scenario, outcome: Outcome) -> None:
    wrong = outcome.wrong(scenario)
    mark = "WRONG" if wrong else "ok"
    print(
        f"{mark:6}{scenario.name:28}{outcome.delivered:3} rows, {outcome.sold:3} paid, exit {outcome.exit_code}, "
        f"{outcome.seconds:.0f} s {outcome.reasons or ''}",
        flush=True,
    )
    if wrong:
        print(f"      expected {', '.join(wrong)}; it said: {outcome.told[:400]}", flush=True)


def main() -> int:
    """Play the chosen scenarios; return 1 if a result is not as expected."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", help="scenarios; without names all are played, and the table is written")
    parser.add_argument("--output", type=Path, help="write the table into this file instead")
    options = parser.parse_args()
    outcomes = all_played(chosen(options.names))
    if options.output:
        options.output.write_text(f"{table(outcomes)}\n", "utf-8")
    elif not options.names:
        _write(table(outcomes))
    wrong = sum(bool(outcome.wrong(scenario)) for scenario, outcome in outcomes)
    print(f"{len(outcomes) - wrong} of {len(outcomes)} as they should be")
    return 1 if wrong else 0


def _write(text: str) -> None:
    begin, end = map(re.escape, MARKERS)
    page = PAGE.read_text("utf-8")
    block = f"{MARKERS[0]}\n{text}\n{MARKERS[1]}"
    PAGE.write_text(re.sub(f"{begin}.*?{end}", lambda _: block, page, flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
