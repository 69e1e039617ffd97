"""The planner: processes batches and assets like a run, on an overlay of the home, without sending requests.

Existing rows are looked up exactly as in a run: the same requests, the same rules. Rows that the run would first have
to write are estimated from the history of the home.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from personahub_assets.core.config import Environment
from personahub_assets.core.dialogues import DIALOGUES
from personahub_assets.core.errors import LLMError, PersonaHubError
from personahub_assets.core.records import Derivation
from personahub_assets.core.roles import Role
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.reading import REFUSED
from personahub_assets.embedding.vectors import VectorJournal
from personahub_assets.generation.gates import Gates
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.provenance import kind_of
from personahub_assets.generation.requests import Outcome, Request, Server, Task
from personahub_assets.instance.faults import explain
from personahub_assets.runs.dialogues import DialoguePlan
from personahub_assets.runs.estimates import History, models_of
from personahub_assets.runs.forecast import Aside, Plan, Work
from personahub_assets.runs.lookup import Lookup, Watch
from personahub_assets.sources.register import source_rows
from personahub_assets.sources.rows import Imported
from personahub_assets.steps import candidates
from personahub_assets.steps.agreement import judge_requests, judge_task, problems
from personahub_assets.steps.corpus import document_rows
from personahub_assets.steps.datasets import controlled, item_requests, items, samples_of, shares, target_gaps
from personahub_assets.steps.dialogues import OpenDialogue, dialogue_rows, opened, opening_requests, side_of
from personahub_assets.steps.embeddings import text_hashes, to_embed, with_hashes
from personahub_assets.steps.novelty import Novelty, pieces
from personahub_assets.steps.personas import (
    expanded_before,
    is_used_up,
    related_requests,
    text_requests,
)
from personahub_assets.steps.tasks import current_tasks
from personahub_assets.store.overlay import OverlayStore
from personahub_assets.store.tables import Store, in_pieces, table_schema
from personahub_assets.verification.equality import equal

if TYPE_CHECKING:
    from personahub_assets.dedup.lexical_state import LexicalHub
    from personahub_assets.dedup.records import Personas, Records
    from personahub_assets.dedup.semantic_state import SemanticHub
    from personahub_assets.dedup.state import Hub

_DEDUP = ("lexical_duplicates", "persona_embeddings", "semantic_duplicates", "personas")
_ID = ["persona_id"]
_READ = 1_024  # rows at a time: a row can have a million characters


def plan(
    environment: Environment,
    work: Iterable[tuple[str, set[str]]],
    *,
    retry: Iterable[str] = (),
    watch: Watch = lambda _batch, _asset, _done: None,
    personas_from: dict[str, str] | None = None,
) -> Plan:
    """Forecast the requests of a run, and its other work.

    Args:
        environment: the home and the endpoint; the endpoint is asked only for the name of its model, if it is not set.
        work: batches with the assets that a run would materialise, in its order.
        retry: if not empty, only quarantined rows with these reasons are sent.
        watch: called with the progress.
        personas_from: selections of the run, by dataset, instead of hub.toml's.

    Raises:
        StoreError: if a table or a journal of the home is damaged.
    """
    store = Store(home=str(environment.home), personas_from=personas_from or {}).pulled()
    model, model_from, notes = _model(environment, store)
    forecast = Plan(str(store.root), model, model_from, store.config.prices.currency, notes=notes)
    forecast.is_batch = store.config.batch_api.use
    planner = _Planner(environment, store, model, frozenset(retry), watch)
    for batch, assets in work:
        if assets:
            planner.walk(forecast, batch, assets)
    planner.price(forecast)
    forecast.notes += planner.notes
    _add_gaps(store, forecast)
    return forecast


def _add_gaps(store: Store, forecast: Plan) -> None:
    """Add how far the stored rows of the planned datasets are from the shares of hub.toml."""
    planned = {work.asset for work in forecast.work}
    for name in (name for name in store.catalog.names if name in planned and store.config.dataset(name).targets):
        gaps = target_gaps(store, name)
        forecast.gaps += gaps
        for field_name in dict.fromkeys(gap["field"] for gap in gaps):
            shares = ", ".join(_gap_text(gap) for gap in gaps if gap["field"] == field_name)
            forecast.notes.append(f"{name}, {field_name}: {shares}.")


def _gap_text(gap: dict[str, Any]) -> str:
    share = "no rows" if gap["share"] is None else f"{gap['share']:.0%}".replace("%", " %")
    return f"{gap['value']} {share} (target {gap['target']:.0%})".replace("%)", " %)")


def _model(environment: Environment, store: Store) -> tuple[str, str, list[str]]:
    """The model of a run, the source of its name, and notices about it."""
    llm = LLM.of(environment)
    if environment.llm_model:
        return environment.llm_model, "environment", _mixing(store, environment.llm_model)
    try:
        name = llm.model_for(store)
        return name, "server" if llm.url else "recorded answers", _mixing(store, name)
    except LLMError as error:
        problem = str(error).splitlines()[0] if llm.url else "PERSONAHUB_LLM_URL is not set"
    names = models_of(store)
    if names.is_empty():
        return environment.model_name, "nothing", [f"No model to ask for its name: {problem}."]
    name = str(names.sort("answers", "model", descending=[True, False])["model"][0])
    return (
        name,
        "generations",
        [f"No model to ask for its name: {problem}. Planned for {name}, which wrote the existing rows."],
    )


def _mixing(store: Store, model: str) -> list[str]:
    """A notice if a run would be refused because it mixes rows of the stand-in and of a model."""
    marker = store.paths.writer
    written = marker.read_text().strip() if marker.exists() else None
    if written is None or written == kind_of([model]):
        return []
    return [f"This home holds rows of {'the stand-in' if written == 'standin' else 'a model'}: a run will be refused."]


@dataclass
class _Ahead:
    """Estimates for the current batch."""

    unseen: dict[int, float] = field(default_factory=dict)  # expected candidates, by hop
    undecided: dict[str, pl.Series] = field(default_factory=dict)  # ids by stage
    items: dict[str, float] = field(default_factory=dict)  # expected items that are not written yet, by dataset
    likely: pl.DataFrame | None = None  # candidates that may become personas, with probabilities
    expected: float = 0.0  # personas that are not written yet


class _Planner:
    """One walk over the batches; later batches see the rows of earlier ones, as in a run."""

    def __init__(self, environment: Environment, store: Store, model: str, retry: frozenset[str], watch: Watch):
        self.store, self.config, self.model = store, store.config, model
        self.llm, self.notes = LLM.of(environment), dict[str, None]()
        self.lookup = Lookup(store, retry, watch)
        self.draft = OverlayStore(home=str(store.root), personas_from=store.personas_from)
        self._embedder = Embedder.of(environment, self.config)
        self.embedding_model = self._embedder.name
        self.history = History(store)
        self._semantic_hubs: dict[str, SemanticHub] = {}

    def walk(self, forecast: Plan, batch: str, assets: set[str]) -> None:
        """Process the assets of a batch in the order of the graph; an error ends the batch, as in a run."""
        self.batch, self.assets, self.ahead, self.aside = batch, assets, _Ahead(), Aside(batch)
        self.__dict__.pop("_source", None)
        steps: dict[str, Callable[[], list[Work] | None]] = {
            "documents": self._documents,
            "text_personas": self._text_personas,
            "related_personas": self._related_personas,
            "lexical_duplicates": self._lexical,
            "persona_embeddings": self._embeddings,
            "semantic_duplicates": self._semantic,
            "personas": self._personas,
            **{name: partial(self._items, name) for name in self.store.catalog.in_order},
            DIALOGUES: self._dialogues,
            **{name: partial(self._agreement, name) for name in COMPARISONS},
        }
        try:
            for asset, step in steps.items():
                if asset in assets:
                    forecast.work += step() or []
        except (PersonaHubError, OSError) as error:
            forecast.problems[batch] = explain(error, self.store.root)
        self.aside.to_decide = self._undecided.height if self.ahead.undecided else 0
        if not self.aside.is_idle:
            forecast.asides.append(self.aside)

    def price(self, forecast: Plan) -> None:
        """Estimate tokens, cost and time of the work."""
        for work in forecast.work:
            task = self._task_of(work)
            llm = self.llm.as_role(self.config, task.role, task.variant)
            section = llm.settings_for(self.config, task).prices
            prices, priced = section.as_prices(), section.is_set
            work.cost = work.batch_cost = 0.0 if priced else None
            if not work.expected:
                continue
            spent = self.history.spent(task, self.lookup.prompt_chars(task))
            work.basis = spent.basis
            work.calls, work.prompt_tokens = work.expected * spent.calls, work.expected * spent.prompt_tokens
            work.cached_tokens = work.expected * spent.cached_tokens
            work.completion_tokens = work.expected * spent.completion_tokens
            work.seconds = self.history.seconds(work.asset, work.expected, work.completion_tokens)
            if priced:
                work.cost = work.expected * prices.cost(
                    spent.prompt_tokens, spent.cached_tokens, spent.completion_tokens
                )
                work.batch_cost = work.cost * self.config.batch_api.price_factor

    def _task_of(self, work: Work) -> Task:
        if work.asset in COMPARISONS:
            return judge_task(work.asset, self.store.catalog, self.config, self._server)
        return next(each for each in self._tasks(work.asset) if (each.role, each.variant) == (work.role, work.variant))

    def _work(self, task: Task) -> Work:
        return Work(self.batch, task.asset, task.role, task.variant, task.model)

    @cache  # noqa: B019 - lives as long as a plan
    def _server(self, role: Role, variant: str) -> Server:
        """The server of a role; a name of its model that cannot be found out is noted."""
        llm = self.llm.as_role(self.config, role, variant)
        if llm is self.llm:
            return Server(self.model, llm.is_own_server)
        try:
            return Server(llm.model_for(self.store), llm.is_own_server)
        except LLMError as error:
            self.notes[f"No model of the {role} to ask for its name: {str(error).splitlines()[0]}."] = None
            return Server(llm.model or "default", llm.is_own_server)

    # --- the corpus ---

    @cached_property
    def _source(self) -> tuple[pl.DataFrame, list[Imported]]:
        """Documents and imported personas of the source file, read once."""
        texts, ready = [pl.DataFrame(schema=table_schema("documents"))], list[Imported]()
        for rows in in_pieces(source_rows(self.draft, self.batch), _READ):
            texts.append(document_rows(self.batch, rows))
            ready += [row for row in rows if isinstance(row, Imported)]
        return pl.concat(texts), ready

    def _documents(self) -> None:
        rows, _ = self._source
        before = self.store.read("documents", self.batch)
        if not rows.equals(before):
            self.aside.documents_new = rows.join(before, on=["document_id", "text"], how="anti").height
            self.aside.documents_gone = before.join(rows, on="document_id", how="anti").height
            self.draft.write("documents", self.batch, rows)

    # --- candidates ---

    def _text_personas(self) -> list[Work]:
        per_document, task = self.config.text_personas.per_document, self._task("text_personas")
        work = self._work(task)
        _, ready = self._source
        gates = Gates(self.config, task)
        ready = [replace(row, persona=gates.mask_text(row.persona)) for row in ready]
        ready = [row for row in ready if gates.judge_imported(row.persona) is None]
        imported = candidates.imported(
            self.batch,
            [row.persona for row in ready],
            [gates.mask_attributes(row.attributes) for row in ready],
            Counter(),
        )
        requested = self.lookup.look(work, task, text_requests(self.draft, task, self.batch), read=True)
        judged = _judged(gates, requested.answers)
        answers = [(request.input_id, "", answer) for request, answer in judged]
        self._draft_candidates(task.asset, [*imported, *candidates.from_text(self.batch, answers, per_document)])
        self.ahead.unseen[0] = requested.unanswered * self.history.rows_per_answer(task.asset, per_document)
        return [work]

    def _related_personas(self) -> list[Work]:
        settings, task = self.config.related_personas, self._task("related_personas")
        work, every, words = self._work(task), list[dict[str, Any]](), set[int]()
        per_answer, gates = self.history.rows_per_answer(task.asset, settings.fan_out), Gates(self.config, task)
        last, expanded = self.draft.read("text_personas", self.batch), expanded_before(self.store, self.batch)
        novelty = self._novelty(last)
        for hop in range(1, settings.hops + 1):
            parents = {row["persona_id"]: row for row in candidates.frontier(last, words, expanded)}
            rows, unanswered, sent = list[dict[str, Any]](), 0, 0
            for piece in pieces(parents, settings.min_novelty):
                requested = self.lookup.look(work, task, related_requests(task, piece, settings.fan_out), read=True)
                judged = _judged(gates, requested.answers)
                answers = [(parents[request.input_id], "", answer) for request, answer in judged]
                new = candidates.from_relations(self.batch, answers, settings.fan_out)
                rows, unanswered, sent = rows + new, unanswered + requested.unanswered, sent + len(piece)
                if novelty and not unanswered:
                    novel = novelty.per_1000(pl.DataFrame(new, table_schema(task.asset)), len(piece))
                    if is_used_up(novel, settings.min_novelty, parents, sent, expanded):
                        break
            follow = self.ahead.unseen.get(hop - 1, 0.0) * self.history.expanded_share
            work.follow += follow
            self.ahead.unseen[hop] = (unanswered + follow) * per_answer
            last = pl.DataFrame(rows, table_schema("related_personas"))
            every += rows
        if novelty and work.expected:
            self.notes["related_personas.min_novelty can end a hop before all these requests are sent."] = None
        self._draft_candidates(task.asset, every)
        return [work]

    def _novelty(self, candidates_before: pl.DataFrame) -> Novelty | None:
        """Novelty of the hops, from stored vectors; None if no hop ends by it."""
        if not self.config.related_personas.min_novelty:
            return None
        novelty = Novelty(self.store, self._embedder, self.batch, lambda _done, _total: None, may_embed=False)
        novelty.add(candidates_before)
        return novelty

    def _draft_candidates(self, table: str, rows: list[dict[str, Any]]) -> None:
        frame = pl.DataFrame(rows, table_schema(table))
        if not frame["persona_id"].equals(self.store.read(table, self.batch, columns=_ID)["persona_id"]):
            self.draft.write(table, self.batch, frame)

    # --- dedup ---

    def _lexical(self) -> None:
        self._decide(self._lexical_hub, self._draft_personas.rows(self.batch, "id", "hop"))

    def _embeddings(self) -> None:
        """Assume a vector for every lexical survivor: embedding needs no call to the language model."""
        model = self.embedding_model
        before = self.store.read(
            "persona_embeddings", self.batch, columns=["persona_id", "model", "unread", "unread_hash"]
        )
        ready = before.filter(pl.col("model") == model)
        embedded = ready.filter(pl.col("unread_hash").ne_missing(REFUSED))  # refused texts are asked again
        wanted = to_embed(self._draft_personas, self.batch, model).rename({"id": "persona_id"})
        new = pl.concat([wanted.select("persona_id", "text"), self._undecided.select("persona_id", text="persona")])
        unembedded = with_hashes(new.join(embedded, on="persona_id", how="anti"), self._embedder)
        self.aside.to_embed = self._without_vector(self._draft_personas, unembedded)
        is_whole = wanted["persona_id"].equals(ready["persona_id"]) and ready.height == before.height
        if not is_whole or before["unread"].null_count():
            rows = wanted.select(_ID).with_columns(
                batch=pl.lit(self.batch),
                model=pl.lit(model),
                text_hash=pl.lit(""),
                embedding=pl.lit(None),
                unread=pl.lit(0.0),
                unread_hash=pl.lit(""),
            )
            self.draft.write("persona_embeddings", self.batch, rows)
            self._semantic_hubs.clear()  # the set of comparable batches can have changed

    def _without_vector(self, records: "Records", texts: pl.DataFrame) -> int:
        """Number of distinct texts without a vector in any batch."""
        hashes = texts.select("text_hash").unique()
        if hashes.height:
            # The draft has no vectors of batches that were planned before.
            published = text_hashes(self.store, records.vectors)
            embedded = published.filter(pl.col("model") == self.embedding_model, ~pl.col("is_refused"))
            hashes = hashes.join(embedded, on="text_hash", how="anti")
        journal = VectorJournal(records.journal(self.batch), self.embedding_model)
        return hashes.height - journal.known(hashes["text_hash"], tidy=False).height

    def _semantic(self) -> None:
        models = self.draft.read("persona_embeddings", self.batch, columns=["model"])["model"]
        hub = self._semantic_hub(str(models[0]) if len(models) else self.embedding_model)
        self._decide(hub, hub.reach(self.batch))

    @cached_property
    def _draft_personas(self) -> "Personas":
        from personahub_assets.dedup.records import Personas

        return Personas(self.draft)

    @cached_property
    def _lexical_hub(self) -> "LexicalHub":
        from personahub_assets.dedup.lexical_state import LexicalHub

        return LexicalHub(self._draft_personas)

    def _semantic_hub(self, model: str) -> "SemanticHub":
        from personahub_assets.dedup.semantic_state import SemanticHub

        if model not in self._semantic_hubs:
            self._semantic_hubs[model] = SemanticHub(self._draft_personas, model)
        return self._semantic_hubs[model]

    def _decide(self, hub: "Hub", rows: pl.DataFrame) -> None:
        """Find the rows `(id, hop)` that a stage would decide; decisions about other rows stay valid."""
        if self.batch in hub.batches:
            hub.look_again(self.batch)
        if hub.outdated:
            self.aside.decided_again += (hub.stage,)
            self.ahead.undecided[hub.stage] = rows["id"]
            return
        stored = hub.rows(self.batch, lambda _batch: rows)
        undecided = stored.filter(_walked(hub, stored, self.batch))
        self.ahead.undecided[hub.stage] = undecided["id"]
        self.aside.coming_back += undecided["admission"].count()
        if undecided["admission"].count():
            standing = hub.standing(self.batch).join(undecided, on="id", how="anti", maintain_order="left")
            hub.replace_standing(self.batch, standing)

    @property
    def _undecided(self) -> pl.DataFrame:
        """Candidates that a stage would decide."""
        ids = pl.concat([pl.Series(dtype=pl.String), *self.ahead.undecided.values()]).rename("persona_id").unique()
        return self.draft.candidates(self.batch).join(ids.to_frame(), on="persona_id", how="semi")

    def _personas(self) -> None:
        undecided = self._undecided if "semantic_duplicates" in self.assets else self._undecided.clear()
        stays = self.draft.kept("semantic_duplicates", self.batch).join(undecided, on="persona_id", how="anti")
        rows = self.draft.candidates(self.batch).join(stays, on="persona_id", how="semi", maintain_order="left")
        before = self.store.read("personas", self.batch, columns=_ID)
        if not rows["persona_id"].equals(before["persona_id"]):
            self.aside.personas_in = rows.join(before, on="persona_id", how="anti").height
            self.aside.personas_out = before.join(pl.concat([rows, undecided]), on="persona_id", how="anti").height
            self.draft.write("personas", self.batch, rows)
        if self.assets.issuperset(_DEDUP):
            self.ahead.likely = self._with_chances(undecided)
            self.ahead.expected = sum(count * self.history.kept_share(hop) for hop, count in self.ahead.unseen.items())

    def _with_chances(self, undecided: pl.DataFrame) -> pl.DataFrame:
        """Add the probability that each candidate becomes a persona.

        If a rule changed, all rows are decided again: personas of the hub most likely stay, and those dropped at a
        similarity above the threshold stay dropped.
        """
        hops = undecided["hop"].unique()
        shares = pl.DataFrame({"hop": hops, "chance": [self.history.kept_share(hop) for hop in hops]})
        rows = undecided.join(shares.cast({"hop": pl.Int8, "chance": pl.Float64}), on="hop", how="left")
        if self.aside.decided_again:
            now = self.store.read("personas", self.batch, columns=_ID).with_columns(stays=pl.lit(1.0))
            rows = rows.join(now, on="persona_id", how="left").with_columns(chance=pl.coalesce("stays", "chance"))
        for stage in self.aside.decided_again:
            threshold = (self.config.lexical if stage == "lexical" else self.config.semantic).threshold
            asset, columns = f"{stage}_duplicates", ["persona_id", "similarity"]
            decided = self.store.read("decisions", self.batch, asset, columns=columns)
            rows = rows.join(decided.filter(pl.col("similarity") >= threshold), on="persona_id", how="anti")
        return rows

    # --- datasets ---

    def _dialogues(self) -> list[Work]:
        settings, tasks = self.config.dataset(DIALOGUES), self._tasks(DIALOGUES)
        works, complete = [self._work(task) for task in tasks], list[OpenDialogue]()
        forecast = DialoguePlan(self.lookup, tasks, works, settings.turns, self._judged)
        for dialogues in opened(self.draft, self.batch):
            complete_ones = forecast.look(dialogues)
            complete += complete_ones if self._is_source(DIALOGUES) else []
        forecast.expect(self._to_come(DIALOGUES, None) * settings.samples)
        if self.ahead.likely is not None and self.ahead.likely.height:
            users = side_of(tasks, 0)
            for task in users:
                openings = partial(opening_requests, users=users, task=task, batch=self.batch)
                forecast.expect(self._likely_items(task, openings, self.ahead.likely))
        self.ahead.items[DIALOGUES] = forecast.missing
        if complete:
            rows = dialogue_rows(DIALOGUES, self.batch, complete)
            self.draft.write(DIALOGUES, self.batch, pl.DataFrame(rows, self.store.columns(DIALOGUES)))
        self._item_duplicates(DIALOGUES)
        return works

    def _judged(self, task: Task, answers: list[tuple[Request, Outcome]]) -> Iterator[tuple[Request, Any]]:
        return _judged(Gates(self.config, task), answers)

    def _items(self, name: str) -> list[Work]:
        samples, works = samples_of(name, self.store.catalog, self.config), list[Work]()
        written = list[tuple[str, int, str, Any]]()
        derivation = self.store.catalog.derivation(name)
        self.ahead.items[name] = 0.0
        for task, numbers in shares(self._tasks(name), samples):
            work = self._work(task)
            requests_of = partial(item_requests, task=task, batch=self.batch, samples=numbers)
            requested = self.lookup.look(work, task, requests_of(self.draft), read=self._is_source(name))
            work.follow = self._to_come(name, derivation) * len(numbers)
            judged = _judged(Gates(self.config, task), requested.answers)
            if derivation is None:
                written += [(each.input_id, each.sample, "", controlled(task, each, answer)) for each, answer in judged]
            if derivation is None and self.ahead.likely is not None and self.ahead.likely.height:
                work.follow += self._likely_items(task, requests_of, self.ahead.likely)
            self.ahead.items[name] += requested.unanswered + work.follow
            works.append(work)
        if self._is_source(name) and derivation is None:
            rows = pl.DataFrame(items(name, self.batch, written), self.store.columns(name))
            self.draft.write(name, self.batch, rows)
        self._item_duplicates(name)
        return works

    def _agreement(self, name: str) -> list[Work]:
        """The judge's requests about stored solutions; those about solutions to come cannot be foreseen."""
        if not self.config.verification.judge:
            return []
        task = judge_task(name, self.store.catalog, self.config, self._server)
        work, compare = self._work(task), partial(equal, comparer=None)
        compared = problems(self.draft, name, self.batch, compare)
        self.lookup.look(work, task, judge_requests(self.draft, task, self.batch, compared))
        return [work]

    def _to_come(self, name: str, derivation: Derivation | None) -> float:
        """Expected inputs that do not exist yet, for each sample."""
        settings = self.config.dataset(name)
        if settings.personas_from:  # a selection contains only existing personas
            return 0.0
        coming = self.ahead.items.get(derivation.source, 0.0) if derivation else self.ahead.expected
        return coming * settings.share

    def _is_source(self, name: str) -> bool:
        """Whether another dataset of the run is made from this one."""
        derivations = map(self.store.catalog.derivation, self.assets & {*self.store.catalog.names})
        return any(derivation is not None and derivation.source == name for derivation in derivations)

    def _likely_items(
        self, task: Task, requests_of: Callable[[Store], Iterator[Request]], likely: pl.DataFrame
    ) -> float:
        """Expected requests about candidates that may become personas; some may have answers already."""
        overlay = OverlayStore(home=self.store.home, personas_from=self.store.personas_from)
        overlay.write("personas", self.batch, likely)
        chances = dict(likely.select("persona_id", "chance").iter_rows())
        requested = self.lookup.glance(task, self.batch, requests_of(overlay))
        return float(sum(chances[input_id] for input_id, _ in requested.open))

    def _item_duplicates(self, dataset: str) -> None:
        """Count the existing items that are compared or embedded; those that the run writes first are not known."""
        from personahub_assets.dedup.records import Items

        records = Items(self.store, dataset)
        items = records.contents(self.batch)
        if records.threshold is None or items.is_empty():
            return
        decided = records.valid(self.batch, records.stored("lexical", self.batch))
        if records.run("lexical", self.batch).filter(rule=records.lexical.rule).is_empty():
            decided = decided.clear()
        undecided = items.join(decided, on="id", how="anti").select("id")
        self.aside.items_to_compare += undecided.height
        if records.is_embedded:
            wanted = pl.concat([undecided, decided.filter(pl.col("keeper_id").is_null()).select("id")])
            texts = records.rows(self.batch, "id", "text").join(wanted, on="id", how="semi")
            self.aside.to_embed += self._without_vector(records, with_hashes(texts, self._embedder))

    @cache  # noqa: B019 - lives as long as a plan
    def _task(self, asset: str) -> Task:
        return self._tasks(asset)[0]

    @cache  # noqa: B019 - lives as long as a plan
    def _tasks(self, asset: str) -> list[Task]:
        return current_tasks(self.store.catalog, self.config, asset, self._server)


def _walked(hub: "Hub", rows: pl.DataFrame, batch: str) -> pl.Series:
    """Mask of the rows `(batch, id, …)` that a stage would walk: new ones, and those without their keeper."""
    from personahub_assets.dedup.keepers import NONE, Decided, Walk, admit

    walks: list[Walk] = []

    def nobody(walk: Walk) -> Decided:
        walks.append(walk)
        nothing = np.full(len(walk.index), np.nan)
        return Decided(np.full(len(walk.index), NONE), nothing, np.zeros(len(walk.index), np.bool_))

    others, elsewhere = hub.kept_of_others(batch), hub.elsewhere(rows["keeper_id"])
    admit(rows, others, 1, nobody, replay=False, elsewhere=elsewhere)
    # Rows without their keeper find no other one here, so they are among the new rows.
    return pl.Series(np.isin(np.arange(rows.height), walks[-1].index))


def _judged(gates: Gates, answers: list[tuple[Request, Outcome]]) -> Iterator[tuple[Request, Any]]:
    """The answers of which a run would write rows."""
    for request, outcome in answers:
        answer = gates.judge(request, gates.mask(outcome)).answer
        if answer is not None:
            yield request, answer
