"""Convert personas, or the items of another dataset, to synthetic data: choose inputs, make requests, build rows."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from types import MappingProxyType
from typing import Any, get_args

import polars as pl

from personahub_assets.core.catalog import SOURCE_TEXT, Catalog
from personahub_assets.core.config import DatasetTask, HubConfig
from personahub_assets.core.constraints import RULE
from personahub_assets.core.demonstrations import as_instructions
from personahub_assets.core.dialogues import DIALOGUES
from personahub_assets.core.errors import ConfigError, PersonaHubError, choices
from personahub_assets.core.prompts import Prompt
from personahub_assets.core.records import Answer, DatasetItem, DefaultVariant, Derivation, Instruction, unasked_fields
from personahub_assets.core.roles import Role
from personahub_assets.core.text import digest
from personahub_assets.core.worlds import NPCS, PARAMETER, World, chosen_worlds, world_of
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.engine import Watch
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request, Server, ServerOf, Task
from personahub_assets.quality.worlds import misfit
from personahub_assets.search import selections
from personahub_assets.steps.asked import Asked
from personahub_assets.steps.decontamination import find_contaminated
from personahub_assets.steps.diversity import largest, measure_words
from personahub_assets.steps.role_tasks import dialect_of
from personahub_assets.store.tables import Store

_SCALE = 1 << 32

Finish = Callable[[Request, Answer], DatasetItem]
"""Makes an item from an answer to a request, where they differ: a program is run for its final answer."""


def nowhere(_role: Role, _variant: str) -> Server:
    """The server of tasks that send no request."""
    return Server("none")


def chosen(
    rows: pl.DataFrame, dataset: str, share: float, among: pl.Series | None = None, key: str = "persona_id"
) -> pl.DataFrame:
    """Choose a share of personas or items by a hash: the same ones at every refresh, others for each dataset.

    Args:
        among: choose only from those of these personas.
        key: column with the ids that are hashed.
    """
    if among is not None:
        rows = rows.filter(rows["persona_id"].is_in(among.implode()))
    if share >= 1:
        return rows
    hashes = [int(digest(dataset, input_id, size=8), 16) for input_id in rows[key]]
    return rows.filter(pl.Series(hashes, dtype=pl.Int64) < int(share * _SCALE))


def items(dataset: str, batch: str, answers: Iterable[tuple[str, int, str, DatasetItem]]) -> list[dict[str, Any]]:
    """Rows of a dataset from `(persona id, sample, generation id, answer)`."""
    return [
        {
            "batch": batch,
            "item_id": item_id(dataset, persona_id, sample),
            "persona_id": persona_id,
            "sample": sample,
            **answer.model_dump(),
            "text": answer.as_text(),
            "generation_id": generation_id,
        }
        for persona_id, sample, generation_id, answer in answers
    ]


def item_id(dataset: str, input_id: str, sample: int) -> str:
    """The id of an item.

    Args:
        dataset: its dataset.
        input_id: the persona, or the item of the source.
        sample: number of the answer about this input.
    """
    return "i" + digest(dataset, input_id, sample)


def source_hash(text: str) -> str:
    """Identifies the text of an item of a source; in SQL `left(sha256(text), 16)`."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


# --- tasks ---


def dataset_task(name: str, catalog: Catalog, config: HubConfig, model: str) -> Task:
    """A dataset's task from its current prompt file, class and hub.toml; the first of several variants.

    Raises:
        PromptError, ConfigError: if there is no such dataset, or one of its files is invalid or still the template.
    """
    return dataset_tasks(name, catalog, config, lambda _role, _variant: Server(model))[0]


def dataset_tasks(name: str, catalog: Catalog, config: HubConfig, server_of: ServerOf) -> list[Task]:
    """The tasks of a dataset, one for each variant of its role.

    Raises:
        PromptError, ConfigError: as `dataset_task` does, or if a variant has no style that the dataset has.
    """
    catalog.check_edited(name)
    item, role = catalog.item(name), catalog.prompt(name).role
    derivation = item.__derivation__ or Derivation("")
    return [
        _variant_task(name, catalog, config, role, variant, server_of)
        for variant in variants(config, name, role, derivation)
    ]


def variants(config: HubConfig, name: str, role: Role, derivation: Derivation) -> list[DefaultVariant]:
    """Who answers: the variants of the role in hub.toml whose style the dataset has, else those of the dataset.

    Raises:
        ConfigError: if the role has variants, and none of a style of the dataset.
    """
    own = config.role(role).variants
    fitting = [each for each in own if not each.style or each.style in derivation.styles]
    if own and not fitting:
        valid = [style for style in derivation.styles if style]
        raise ConfigError(
            f"roles.{role}.variants: none has a style of {name}: {choices(own[0].style, valid or ['none'])}; leave "
            "style out for the first"
        )
    return [DefaultVariant(each.name, each.style, each.sampling()) for each in fitting] or [*derivation.variants]


def _variant_task(
    name: str, catalog: Catalog, config: HubConfig, role: Role, variant: DefaultVariant, server_of: ServerOf
) -> Task:
    item, settings, section = catalog.item(name), config.dataset(name), config.role(role)
    derivation = item.__derivation__
    style = derivation.style(variant.style) if derivation else ""
    prompt, server = catalog.prompt(name, style), server_of(role, variant.name)
    is_first = derivation is None or style == derivation.style("")
    # A parameter of hub.toml has to be one of the first prompt; other styles take those that they have.
    parameters = {key: value for key, value in settings.parameters.items() if is_first or key in prompt.parameters}
    sampling = {**section.sampling(), **settings.sampling(), **variant.sampling}
    dialect = dialect_of(config, role, variant.name, server)
    answer = (derivation.styles[style] if derivation else None) or item
    prompt = with_demonstrations(prompt.with_settings(parameters, sampling), catalog, settings, answer)
    controls = _controls(name, catalog, settings)
    shaping = {"controls": json.dumps(controls)} if controls else {}
    shaping |= {"mode": mode} if (mode := _mode(name, item, settings)) != "plain" else {}
    if worlds := worlds_of(name, catalog, prompt, settings):
        shaping["worlds"] = json.dumps({key: world.model_dump() for key, world in worlds.items()})
    targets = checked_targets(name, item, settings)
    return Task(
        name,
        prompt,
        answer,
        server.model,
        dialect,
        settings=shaping,
        role=role,
        variant=variant.name,
        targets=targets,
    )


def worlds_of(name: str, catalog: Catalog, prompt: Prompt, settings: DatasetTask) -> dict[str, World]:
    """The worlds that hub.toml names for game NPCs; empty for other datasets.

    Raises:
        PromptError: if the file of a world is malformed.
        ConfigError: if hub.toml names one that does not exist, or also a text as `world`, or the prompt shows none.
    """
    if name != NPCS or settings.worlds is None:
        return {}
    section = f"datasets.{NPCS}"
    if PARAMETER in settings.parameters:
        raise ConfigError(f"{section}.worlds and {section}.parameters.{PARAMETER} exclude each other: remove one")
    if PARAMETER not in prompt.names:
        raise ConfigError(f"{section}.worlds: the prompt has no {{{{ {PARAMETER} }}}}: add it to prompts/{NPCS}.md")
    return chosen_worlds(catalog.worlds, settings.worlds)


def _controls(name: str, catalog: Catalog, settings: DatasetTask) -> dict[str, list[str]]:
    """The values that hub.toml asks for, by field of the dataset.

    Raises:
        ConfigError: if a field of the dataset cannot be set.
    """
    valid = catalog.controls(name)
    if unknown := [field for field in settings.controls if field not in valid]:
        raise ConfigError(f"datasets.{name}.controls: no field {choices(unknown[0], list(valid) or ['none'])}")
    return {field: settings.controls.get(field, []) for field in valid}


def _mode(name: str, item: type[DatasetItem], settings: DatasetTask) -> str:
    """The mode of hub.toml.

    Raises:
        ConfigError: if the dataset does not have it.
    """
    if settings.mode not in item.__modes__:
        raise ConfigError(f"datasets.{name}.mode: {name} has no mode {choices(settings.mode, list(item.__modes__))}")
    return settings.mode


def with_demonstrations(prompt: Prompt, catalog: Catalog, settings: DatasetTask, answer: type[Answer]) -> Prompt:
    """Add the example answers that hub.toml wants to the shared instructions.

    Raises:
        PromptError: if there are none, or their file is malformed.
    """
    if settings.prompting == "zero_shot":
        return prompt
    examples = catalog.demonstrations(prompt.name, answer)[: settings.demonstrations]
    return prompt.with_instructions(as_instructions(examples, settings.prompting))


def checked_targets(name: str, item: type[DatasetItem], settings: DatasetTask) -> dict[str, dict[str, float]]:
    """The shares that hub.toml sets for values of the fields of a dataset.

    Raises:
        ConfigError: naming a field that is no choice, or a value that it does not have.
    """
    fields = {field: get_args(info.annotation) for field, info in item.model_fields.items()}
    choice = {field: values for field, values in fields.items() if values and all(isinstance(v, str) for v in values)}
    for field, shares in settings.targets.items():
        if field not in choice:
            raise ConfigError(f"datasets.{name}.targets: {field} is no choice of {name} {choices(field, list(choice))}")
        for value in shares:
            if value not in choice[field]:
                raise ConfigError(f"datasets.{name}.targets.{field}: {choices(value, list(choice[field]))}")
    return settings.targets


def samples_of(name: str, catalog: Catalog, config: HubConfig) -> int:
    """Number of answers per input.

    Raises:
        ConfigError: if hub.toml sets fewer than the dataset needs.
    """
    settings, derivation = config.dataset(name), catalog.item(name).__derivation__
    if derivation is None:
        return settings.samples
    if "samples" not in settings.model_fields_set:
        return max(derivation.samples, len(variants(config, name, catalog.prompt(name).role, derivation)))
    if settings.samples < derivation.least_samples:
        raise ConfigError(
            f"datasets.{name}.samples is {settings.samples}, and {name} needs {derivation.least_samples} or more "
            f"answers about each item of {derivation.source}, to compare them"
        )
    return settings.samples


def shares(tasks: list[Task], samples: int) -> list[tuple[Task, list[int]]]:
    """Each task with the numbers of its samples: sample n is asked by task n, and again from the first one on."""
    numbers = [list(range(samples))[index :: len(tasks)] for index in range(len(tasks))]
    return [(task, own) for task, own in zip(tasks, numbers, strict=True) if own]


# --- inputs and requests ---


@dataclass(frozen=True)
class Origin:
    """What the row of a derived dataset keeps of the item that it was made from."""

    persona_id: str
    source_hash: str


def asked_inputs(store: Store, name: str, batch: str) -> Iterator[pl.DataFrame]:
    """The inputs of a dataset in slices: `(persona_id, persona)`, or the rows of its source that are not excluded."""
    derivation = store.catalog.derivation(name)
    if derivation is None:
        yield from asked_personas(store, name, batch)
        return
    settings = store.config.dataset(name)
    among = selections.chosen(store, settings.personas_from, batch)
    excluded = store.excluded_items(derivation.source, batch).implode()
    for rows in store.slices(derivation.source, batch):
        rows = rows.filter(~rows["item_id"].is_in(excluded))
        # A share of the same items for all datasets that are made from them: a tool has both tests and code.
        rows = chosen(rows, derivation.source, settings.share, among, "item_id")
        yield with_source_texts(store, derivation.source, batch, rows)


def with_source_texts(store: Store, name: str, batch: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of a dataset with the texts of the items that they were made from, as `source_text`; if there are any."""
    derivation = store.catalog.derivation(name)
    if derivation is None:
        return rows
    texts = store.read(derivation.source, batch, columns=["item_id", "text"])
    texts = texts.rename({"item_id": "source_id", "text": SOURCE_TEXT})
    return rows.join(texts, on="source_id", how="left", maintain_order="left").with_columns(
        pl.col(SOURCE_TEXT).fill_null("")
    )


def asked_personas(store: Store, name: str, batch: str) -> Iterator[pl.DataFrame]:
    """`(persona_id, persona)` of the personas that a dataset uses, in slices."""
    settings = store.config.dataset(name)
    among = selections.chosen(store, settings.personas_from, batch)
    for rows in store.slices("personas", batch, ["persona_id", "persona"]):
        yield chosen(rows, name, settings.share, among)


def input_column(catalog: Catalog, name: str) -> str:
    """The column of a dataset's table with the id of its input."""
    return "source_id" if catalog.derivation(name) else "persona_id"


def _ids(rows: pl.DataFrame) -> pl.Series:
    """The ids of inputs."""
    return rows["item_id" if "item_id" in rows.columns else "persona_id"]


def item_requests(store: Store, task: Task, batch: str, samples: Iterable[int] | None = None) -> Iterator[Request]:
    """The requests of a task for a batch: the samples of each input.

    Args:
        samples: numbers of the samples; None for all of hub.toml.
    """
    catalog = store.catalog
    numbers = range(samples_of(task.asset, catalog, store.config)) if samples is None else list(samples)
    if catalog.derivation(task.asset) is None:
        most = selections.most_samples(store.config.dataset(task.asset).personas_from)
        for rows in asked_personas(store, task.asset, batch):
            yield from persona_requests(task, rows.iter_rows(), numbers, most)
        return
    persona_of = _personas_of(store, task, batch)
    for rows in asked_inputs(store, task.asset, batch):
        yield from item_based_requests(task, rows.iter_rows(named=True), numbers, persona_of)


def _personas_of(store: Store, task: Task, batch: str) -> dict[str, str]:
    """Texts of the personas of a batch, if the task's prompt has them."""
    if "persona" not in task.prompt.row_names:
        return {}
    return dict(store.candidates(batch, ["persona_id", "persona"]).iter_rows())


def persona_requests(
    task: Task,
    personas: Iterable[tuple[str, str]],
    samples: Iterable[int] = (0,),
    most: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[Request]:
    """The requests of a dataset about personas `(id, text)`.

    Args:
        task: the dataset's.
        personas: their ids and texts.
        samples: numbers of the samples.
        most: number of samples of a persona, where it has fewer.
    """
    numbers = list(samples)
    # The samples of one persona are adjacent: their prompts have the same prefix, for the server's prefix cache.
    for persona_id, persona in personas:
        limit = most.get(persona_id)
        for sample in numbers if limit is None else [number for number in numbers if number < limit]:
            yield task.request(persona_id, {**control_values(task, persona_id, sample), "persona": persona}, sample)


def control_values(task: Task, persona_id: str, sample: int) -> dict[str, str]:
    """The values that a request asks for, by field: empty for fields that hub.toml does not set."""
    return {
        name: values[int(digest(name, persona_id, sample, size=8), 16) % len(values)] if values else ""
        for name, values in task.controls.items()
    }


def item_based_requests(
    task: Task, rows: Iterable[dict[str, Any]], samples: Iterable[int], persona_of: dict[str, str]
) -> Iterator[Request]:
    """The requests of a dataset about rows of its source."""
    numbers = list(samples)
    for row in rows:
        values = item_values(task, row, persona_of)
        for sample in numbers:
            yield task.request(row["item_id"], values, sample)


def item_values(task: Task, row: dict[str, Any], persona_of: dict[str, str]) -> dict[str, str]:
    """The values of a row of the source that a prompt uses: texts as they are, lists and objects as JSON."""
    fields = {"persona": persona_of.get(row["persona_id"], ""), **row}
    return {name: _as_text(fields[name]) for name in sorted(task.prompt.row_names) if name in fields}


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def leaving_rows(store: Store, name: str, batches: Iterable[str]) -> tuple[int, int]:
    """Count the rows that a run removes from a dataset's table, because their inputs are not selected; and all rows.

    Raises:
        ConfigError: if the selection of the dataset cannot be used.
    """
    leaving = total = 0
    column = input_column(store.catalog, name)
    for batch in batches:
        rows = store.read(name, batch, columns=[column])[column]
        ids = [_ids(inputs) for inputs in asked_inputs(store, name, batch)]
        kept = pl.concat(ids) if ids else pl.Series(dtype=pl.String)
        leaving += len(rows) - int(rows.is_in(kept.implode()).sum())
        total += len(rows)
    return leaving, total


def target_gaps(store: Store, name: str) -> list[dict[str, Any]]:
    """How far the rows of a dataset are from the shares of hub.toml: one entry for each value.

    Returns:
        `dataset`, `field`, `value`, `rows`, `share` of all rows (None without rows) and `target`.
    """
    gaps = list[dict[str, Any]]()
    for field, shares in checked_targets(name, store.catalog.item(name), store.config.dataset(name)).items():
        values = store.read_all(name, [field])[field]
        counts, total_share = dict(values.value_counts().iter_rows()), sum(shares.values())
        for value, share in shares.items():
            rows = counts.get(value, 0)
            entry = {"dataset": name, "field": field, "value": value, "rows": rows}
            gaps.append({**entry, "share": rows / len(values) if len(values) else None, "target": share / total_share})
    return gaps


# --- the step ---


def version(catalog: Catalog, name: str, settings: DatasetTask) -> list[int | float | str]:
    """The settings of a dataset, besides the prompt, that can change its rows; a selection by its ids."""
    selected = [selections.fingerprint(settings.personas_from)] if settings.personas_from else []
    derivation = catalog.derivation(name)
    is_set = derivation is None or "samples" in settings.model_fields_set
    samples = settings.samples if is_set else derivation.samples  # type: ignore[union-attr]
    chosen_values = [json.dumps(values, sort_keys=True) for values in (settings.controls, settings.targets) if values]
    rules = [RULE] if settings.mode == "constraints" else []
    rules += [rule] if name in catalog.datasets and (rule := catalog.item(name).__rule__) else []
    turns = [f"turns {settings.turns}"] if name == DIALOGUES else []
    return [
        samples,
        settings.share,
        *selected,
        *chosen_values,
        *rules,
        *turns,
        *_world_version(catalog, name, settings),
    ]


def _world_version(catalog: Catalog, name: str, settings: DatasetTask) -> list[str]:
    """The worlds of a dataset as one text; a malformed file has a version, too, because the graph loads with it."""
    if name != NPCS:
        return []
    try:
        prompt = catalog.prompt(name).with_settings(settings.parameters, {})
        worlds = worlds_of(name, catalog, prompt, settings)
    except PersonaHubError:
        return ["unusable worlds"]
    return [digest(world, each.model_dump_json()) for world, each in worlds.items()]


def write_items(
    name: str,
    store: Store,
    llm: LLM,
    batch: str,
    watch: Watch,
    finish: Finish | None = None,
    embedder: Embedder | None = None,
) -> Asked:
    """Generate the items of a dataset for each of its inputs in a batch, and publish them.

    Args:
        finish: makes the items from the answers, if they are of different classes.
        embedder: compares items with test sets by meaning, too.

    Raises:
        LLMError: if there is no model, or it fails for all requests.
        BudgetSpent: if the budget is spent; the received answers are kept for the next run.
        SelectionError: if the selected personas cannot be found.
    """
    settings, catalog = store.config.dataset(name), store.catalog
    height = sum(rows.height for rows in asked_inputs(store, name, batch))
    tasks = dataset_tasks(name, catalog, store.config, llm.servers(store) if height else nowhere)
    origins = _origins(store, name, batch)
    with llm.answers(store, tasks[0], batch, watch) as answers:
        for task, samples in shares(tasks, samples_of(name, catalog, store.config)):
            answers.use(task)
            requests = partial(item_requests, store, task, batch, samples)
            for accepted in answers.request_all(requests, height * len(samples)):
                parsed = [
                    (
                        request.input_id,
                        request.sample,
                        generation,
                        controlled(task, request, finish(request, answer) if finish else answer),
                    )
                    for request, generation, answer in accepted
                ]
                answers.write(name, _rows(name, batch, task, parsed, origins))
        answers.publish(name)
    facts: dict[str, Any] = {"personas_from": settings.personas_from} if settings.personas_from else {}
    facts |= find_contaminated(store, embedder, name, batch)
    if name not in catalog.scores:
        facts |= largest(measure_words(store, name, batch))
    return Asked.of(answers, **facts)


def controlled(task: Task, request: Request, item: DatasetItem) -> DatasetItem:
    """The item with the values and constraints of its request, and its world with the reason why it does not fit in.

    What a model invents for fields that are not part of its answer, such as a difficulty, is left out.
    """
    unasked = unasked_fields(type(item)) if isinstance(item, task.answer) else ()
    if invented := {name: None for name in unasked if getattr(item, name) is not None}:
        item = item.model_copy(update=invented)
    if isinstance(item, Instruction):
        item = item.with_constraints(task.constraints(request.input_id, request.sample))
    asked_for: dict[str, Any] = {name: value for name in task.controls if (value := request.values.get(name))}
    if task.worlds and "world" in type(item).model_fields:
        world = world_of(request.input_id, task.worlds)
        asked_for |= {"world": world, "misfit": misfit(task.worlds[world], dict(item))}
    return item.model_copy(update=asked_for) if asked_for else item


def _origins(store: Store, name: str, batch: str) -> dict[str, Origin] | None:
    """What rows keep of the items that they are made from, by id; None for a dataset that is made from personas."""
    derivation = store.catalog.derivation(name)
    if derivation is None:
        return None
    rows = store.read(derivation.source, batch, columns=["item_id", "persona_id", "text"])
    return {item: Origin(persona, source_hash(text)) for item, persona, text in rows.iter_rows()}


def _rows(
    name: str,
    batch: str,
    task: Task,
    answers: list[tuple[str, int, str, DatasetItem]],
    origins: dict[str, Origin] | None,
) -> list[dict[str, Any]]:
    """The rows of a dataset, of either kind."""
    rows = items(name, batch, answers)
    if origins is not None:
        for row in rows:
            source_id = row["persona_id"]
            row |= vars(origins[source_id]) | {"source_id": source_id, "variant": task.variant or None}
    return rows
