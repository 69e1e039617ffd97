"""Settings: `hub.toml` in the home, and `PERSONAHUB_…` variables for addresses and secrets.

Every key has a default, so an empty or missing `hub.toml` is valid. Unknown keys are errors.
"""

import os
import re
import tomllib
import warnings
from collections.abc import Collection, Mapping
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from personahub_assets.core import presets
from personahub_assets.core.addresses import public, split_addresses
from personahub_assets.core.catalog import Catalog
from personahub_assets.core.demonstrations import PromptingMode
from personahub_assets.core.dialogues import DIALOGUES, MOST_TURNS
from personahub_assets.core.errors import ConfigError, choices
from personahub_assets.core.languages import LANGUAGES
from personahub_assets.core.object_homes import default_parent, is_address, working_copy
from personahub_assets.core.prices import Prices
from personahub_assets.core.project_files import PROMPTS
from personahub_assets.core.records import MAX_PERSONAS_PER_CALL
from personahub_assets.core.roles import ROLES, WRITER, Role
from personahub_assets.core.rubrics import ENDING, FOLDER, judged_by
from personahub_assets.core.sampling import MAX_TOKENS, SamplingOptions, json_table
from personahub_assets.core.text import WORDS
from personahub_assets.core.worlds import NPCS

STANDIN_URL = "standin:"
FILES_URL = "files:"
"""In place of an address: requests are written to files in the home, for `vllm run-batch`."""
_OTHER_VARIABLES = ("CACHE", "VLLM_PYTHON")
"""Variables that are read elsewhere: the folder of models, and the Python of vLLM in the tests."""


class Section(BaseModel):
    """One table of hub.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    old_names: ClassVar[Mapping[str, str]] = {}
    """Former names of settings, which are still read."""

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, values: Any) -> Any:
        for old, new in cls.old_names.items():
            if isinstance(values, dict) and old in values and new not in values:
                values = {name: value for name, value in values.items() if name != old} | {new: values[old]}
                warnings.warn(
                    f"hub.toml: {old} is now {new}; the old name is read until version 0.3",
                    FutureWarning,
                    stacklevel=2,
                )
        return values


def _known_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"unknown language; valid: {', '.join(sorted(LANGUAGES))}")
    return code


Language = Annotated[str, AfterValidator(_known_language)]


def _known_language_or_rule(code: str) -> str:
    return code if code in ("input", "off") else _known_language(code)


ExpectedLanguage = Annotated[str, AfterValidator(_known_language_or_rule)]


class Sources(Section):
    """How source files are cut and read."""

    rows_per_batch: int = Field(50_000, ge=1, description="A file with more rows becomes several batches")
    max_document_chars: int = Field(1_000_000, ge=1, description="Longer documents are quarantined as too_long")
    max_persona_chars: int = Field(
        2_000, ge=1, description="Longer personas of a source file are quarantined as too_long"
    )
    min_document_chars: int = Field(0, ge=0, description="Shorter documents are quarantined as too_short")
    languages: list[Language] = Field(
        [], description="Documents in others are quarantined as other_language; two-letter codes, none: all languages"
    )

    @property
    def gates(self) -> str:
        """The limits for documents, as one text."""
        limits = f"{self.max_document_chars}, {self.max_persona_chars}, {self.min_document_chars}"
        return f"{limits}, {sorted(self.languages)}"


class SamplingSettings(SamplingOptions, Section):
    """Overrides of the sampling in a prompt file's front matter."""

    temperature: float | None = Field(None, ge=0, le=2, description="Overrides the value of the prompt")
    top_p: float | None = Field(None, gt=0, le=1, description="Overrides the value of the prompt")
    max_tokens: int | None = Field(None, ge=16, le=MAX_TOKENS, description="Overrides the value of the prompt")

    def sampling(self) -> dict[str, Any]:
        """The sampling values that are set, those of `SamplingOptions` included."""
        basic = {k: v for k in ("temperature", "top_p", "max_tokens") if (v := getattr(self, k)) is not None}
        return {**basic, **self.options}


class PromptSettings(SamplingSettings):
    """Overrides of one prompt file's front matter."""

    parameters: dict[str, str | int | float | bool] = Field({}, description="Values for the prompt's parameters")


PerCall = Annotated[int, Field(ge=1, le=MAX_PERSONAS_PER_CALL)]


class TextPersonasTask(PromptSettings):
    """Text-to-persona."""

    per_document: PerCall = Field(3, description="Personas requested per document, in one call")
    granularity: Literal["coarse", "fine", "both"] = Field("both", description="How specific they should be")
    max_chars: int = Field(8_000, ge=100, description="Characters of a document shown to the model; cut at a sentence")


class RelatedPersonasTask(PromptSettings):
    """Persona-to-persona."""

    hops: int = Field(2, ge=0, le=6, description="How many times relations are followed (the paper: up to 6)")
    fan_out: PerCall = Field(2, description="Personas requested per persona, in one call")
    min_novelty: int = Field(
        0,
        ge=0,
        description="New personas per 1,000 requests below which a hop ends: after 200 requests, 400, 800 and so on, a "
        "sample is compared with the hub by meaning; 0: all requests of a hop are sent",
    )


TargetShare = Annotated[float, Field(gt=0, le=1)]


def _as_similarity(value: Any) -> Any:
    if value is None or value is False:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.5 <= value <= 1:
        raise ValueError("expected a similarity from 0.5 to 1, or false")
    return value


Similarity = Annotated[float | Literal[False], BeforeValidator(_as_similarity)]
ComparedBy = Literal["words", "meaning"]


class Items(Section):
    """Near-duplicates among the items of each dataset; a dataset can have its own values."""

    near_duplicates: Similarity = Field(
        0.9,
        description="Similarity, from 0.5 to 1, from which an item is dropped for an earlier item of its dataset; "
        "false: items are not compared",
    )
    near_duplicates_by: ComparedBy = Field(
        "meaning",
        description="words: items are compared by their words; meaning: also by their embeddings, which takes CPU time",
    )


class DatasetTask(PromptSettings):
    """One synthetic dataset."""

    enabled: bool | None = Field(
        None,
        description="Whether a run without --select includes it; default: yes, but not math_solutions and others that "
        "multiply the calls: docs/verified-answers.md",
    )
    samples: int = Field(
        1, ge=1, le=64, description="Answers per persona, or per item of the source; default of solutions: 3"
    )
    share: float = Field(1.0, ge=0, le=1, description="Share of the hub's personas used, drawn by a hash of their id")
    targets: dict[str, Annotated[dict[str, TargetShare], Field(min_length=1)]] = Field(
        {},
        description="Shares of the values of a choice, such as kind = {logical = 0.5, spatial = 0.3, trick = 0.2}; "
        "others are not asked for, and the shares are scaled to 1",
    )
    language: ExpectedLanguage | None = Field(None, description="Language of its items, instead of quality.language")
    personas_from: str | None = Field(
        None, description="File that names the personas to write for, relative to the home; without it, all"
    )
    prompting: PromptingMode = Field(
        "zero_shot",
        description="Examples in the prompt: none, answers, or answers with the personas that they were written for "
        "(paper, section 3)",
    )
    controls: dict[
        str, Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=200)]], Field(min_length=1)]
    ] = Field(
        {},
        description="Values of fields that are asked for, spread evenly over the personas by a hash: topic and "
        "difficulty of math_problems",
    )
    demonstrations: int = Field(3, ge=1, le=32, description="Examples in the prompt, unless prompting is zero_shot")
    mode: Literal["plain", "constraints"] = Field(
        "plain",
        description="constraints: each item of `instructions` has one to three constraints that a program can check",
    )
    worlds: list[str] | Literal["all"] | None = Field(
        None,
        description="Worlds of game_npcs, files of prompts/worlds, or all of them; not set: the parameter world of the "
        "prompt. docs/worlds.md",
    )
    turns: int = Field(3, ge=1, le=MOST_TURNS, description="Messages of the user in dialogues; each is answered")
    near_duplicates: Similarity | None = Field(None, description="As in [items], for this dataset")
    near_duplicates_by: ComparedBy | None = Field(None, description="As in [items], for this dataset")
    judged: bool = Field(
        False, description="Whether a run without --select scores its items, by its rubric: docs/judges.md"
    )


Mode = Literal["auto", "json_schema", "json_object", "tools", "prompt"]

_OF_SERVER = {"server", "mode", "simple_schema", "keep_in_schema", "fold_system", "omit", "rename", "extra_body"} | {
    "headers",
    *SamplingOptions.model_fields,
}
"""Keys of `[generation]` that are for one server."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a header's name
_OURS = ("host", "connection", "content-length", "content-type", "content-encoding", "transfer-encoding")
_FIXED = ("messages", "model", "stream", "n")


class Generation(SamplingOptions, Section):
    """How requests are sent to the language model."""

    old_names: ClassVar[Mapping[str, str]] = {"window": "max_in_flight", "reasks": "validation_retries"}

    server: str | None = Field(
        None, description="Kind of server whose settings are the defaults of this table: docs/servers.md"
    )
    mode: Mode = Field(
        "auto",
        description="How JSON is asked for: response_format with the schema, response_format without it, a tool, or "
        "words alone; auto: the first of these that the server takes",
    )
    simple_schema: bool = Field(
        False,
        description="Send the schema without $ref, lengths and patterns, for servers that refuse them; answers are "
        "still checked",
    )
    keep_in_schema: list[str] = Field(
        [], description='Keywords that simple_schema keeps, such as "additionalProperties"'
    )
    fold_system: bool = Field(False, description="Send the instructions in the user's message, without a system role")
    omit: list[str] = Field([], description='Parameters that are not sent, such as "top_p"')
    rename: dict[str, str] = Field(
        {}, description='Other names of parameters, such as {max_tokens = "max_completion_tokens"}'
    )
    extra_body: dict[str, Any] = Field({}, description="Further parameters, sent as they are")
    headers: dict[str, SecretStr] = Field(
        {},
        description="Further HTTP headers, never printed; `${NAME}` is the value of an environment variable",
    )

    max_in_flight: int = Field(
        512, ge=1, le=4096, description="Maximum number of requests in flight; adapts to the server"
    )
    validation_retries: int = Field(2, ge=0, le=5, description="Retries of an invalid answer, through Instructor")
    transport_tries: int = Field(5, ge=1, le=20, description="Attempts of one request in case of transport faults")
    consecutive_faults: int = Field(20, ge=1, description="Transport faults in a row after which the step fails")
    timeout_s: float = Field(300, gt=0, description="Timeout of one attempt in seconds")
    over_long: Literal["quarantine", "cut"] = Field(
        "quarantine",
        description="Inputs beyond the model's context: too_long, or cut at the end of a sentence",
    )
    max_rejected_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="A check warns if a batch has more of an asset's requests rejected than this share, and 20 or more",
    )
    max_same_text_share: float = Field(
        0.02,
        ge=0,
        le=1,
        description="A check warns if one text makes up more than this share of a table's answers, with 3 or more",
    )
    keep_superseded_days: float = Field(30, ge=0, description="Days for which superseded answers are kept for reuse")
    longest_wait: float = Field(
        600, ge=0, description="Seconds that a run waits for a server that asks it to; beyond, it stops cleanly"
    )
    systematic_faults: int = Field(
        20, ge=0, description="Stop when so many first outcomes of an asset all fail for one reason; 0: never"
    )
    model_must_match: bool = Field(False, description="Stop when the server answers with another model than was asked")

    @model_validator(mode="before")
    @classmethod
    def _read_preset(cls, values: Any) -> Any:
        """Take the preset's values where hub.toml has none; tables are merged key by key."""
        preset = presets.named(values.get("server")) if isinstance(values, dict) else None
        return presets.merged(preset, values) if preset else values

    @field_validator("server")
    @classmethod
    def _is_preset(cls, name: str | None) -> str | None:
        if name is not None and presets.named(name) is None:
            raise ValueError(f"unknown server {choices(name, presets.names())}")
        return name

    @field_validator("extra_body")
    @classmethod
    def _is_sendable(cls, body: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(set(body) & set(_FIXED)):
            raise ValueError(f"{', '.join(taken)} cannot be set here; the client sets {', '.join(_FIXED)}")
        return json_table(body)

    @field_validator("omit")
    @classmethod
    def _can_be_omitted(cls, names: list[str]) -> list[str]:
        if needed := sorted({"messages", "model"} & set(names)):
            raise ValueError(f"{', '.join(needed)} cannot be left out")
        return names

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        if not all(map(_TOKEN.fullmatch, headers)):  # not quoted: it may be a whole header with its value
            raise ValueError('a name is no name of a header; expected {NAME = "value"}')
        if taken := [name for name in headers if name.lower() in _OURS]:
            raise ValueError(f"{', '.join(taken)} cannot be set here; the client sets {', '.join(_OURS)}")
        return headers

    @property
    def sent_headers(self) -> dict[str, str]:
        """The headers with their values as hub.toml has them; `request_headers` fills in the variables."""
        return {name: value.get_secret_value() for name, value in self.headers.items()}


class BatchApi(Section):
    """Batch APIs: requests are submitted as files and answered within hours, at a lower price (docs/batch-api.md)."""

    use: bool = Field(False, description="Submit requests to the batch API, as personahub run --batch-api does")
    price_factor: float = Field(0.5, ge=0, le=1, description="Price of the batch API as a share of [prices]")
    max_lines: int = Field(50_000, ge=1, le=50_000, description="Maximum number of requests in one file")
    max_mb: int = Field(200, ge=1, le=200, description="Maximum size of one file in megabytes")
    completion_window: str = Field("24h", max_length=16, description="Time that the provider is given for a batch")
    poll_s: float = Field(60, ge=0.1, le=3600, description="Seconds between looks at submitted batches")
    delete_files: bool = Field(True, description="Delete the provider's files when their answers are stored here")


class PricesSection(Section):
    """Price of tokens per million; used for cost in progress, metadata, SQL and budgets."""

    prompt: float = Field(0, ge=0, description="Per million prompt tokens")
    cached: float | None = Field(None, ge=0, description="Per million cached prompt tokens; default: as prompt")
    completion: float = Field(0, ge=0, description="Per million completion tokens")
    currency: str = Field("USD", max_length=8, description="Currency shown after amounts")

    @property
    def is_set(self) -> bool:
        """Whether there is a price; without one every cost is unknown, not zero."""
        return bool(self.prompt or self.completion)

    def as_prices(self) -> Prices:
        """Without the currency."""
        return Prices(self.prompt, self.prompt if self.cached is None else self.cached, self.completion)


def _without_secrets(url: str) -> str:
    if public(url) != url:
        raise ValueError("an address in hub.toml has no password or key; set PERSONAHUB_<ROLE>_LLM_URL instead")
    return url


ServerUrl = Annotated[str, AfterValidator(_without_secrets)]


class RolePrices(PricesSection):
    """Prices of one model; the currency is that of `[prices]`."""


class RoleVariant(SamplingSettings):
    """One of several participants in a role, such as one of three solvers."""

    name: str = Field("", description="Shown in the column `variant`; default: the style, or the number")
    style: str = Field("", description="Prompt file that it uses, such as `program` for math_solutions")
    url: ServerUrl | None = Field(None, description="Address of another server than the role's")
    key_variable: str | None = Field(None, description="Environment variable with the key of that server")
    model: str | None = Field(None, description="Another model than the role's")
    prices: RolePrices | None = Field(None, description="Prices of this model")


class RoleSection(SamplingSettings):
    """Model, server and sampling of the tasks that name a role; what is not set is the writer's. Keys are variables."""

    url: ServerUrl | None = Field(None, description="Base URL of its server. Overridden by `PERSONAHUB_<ROLE>_LLM_URL`")
    key_variable: str | None = Field(
        None, description="Environment variable with the key of its server; default: `PERSONAHUB_<ROLE>_LLM_API_KEY`"
    )
    model: str | None = Field(None, description="Its model. Overridden by `PERSONAHUB_<ROLE>_LLM_MODEL`")
    generation: dict[str, Any] = Field(
        {}, description="Keys of `[generation]` that differ for its server, such as `server`"
    )
    prices: RolePrices | None = Field(None, description="Prices of its model, as in `[prices]`")
    variants: list[RoleVariant] = Field(
        [], description="Several participants, one table `[[roles.ROLE.variants]]` each; an item is written by each"
    )

    def variant(self, name: str) -> RoleVariant:
        """The variant of this name; without one, a variant that sets nothing."""
        return next((each for each in self.variants if each.name == name), RoleVariant())

    @field_validator("variants")
    @classmethod
    def _have_names(cls, variants: list[RoleVariant]) -> list[RoleVariant]:
        """Name each by its style or its number."""
        named = list[RoleVariant]()
        for number, each in enumerate(variants, 1):
            name = each.name or each.style or str(number)
            if any(earlier.name == name for earlier in named):
                if each.name:
                    raise ValueError(f"two variants have the name {name!r}: give each its own")
                name = f"{name}-{number}"
            named.append(each.model_copy(update={"name": name}))
        return named

    @field_validator("generation")
    @classmethod
    def _is_generation(cls, values: dict[str, Any]) -> dict[str, Any]:
        Generation(**values)
        return values


ServedRole = Role | Literal["embeddings"]


class ServerSection(Section):
    """One of several servers of a role, one table `[[servers]]` each; all servers of a role serve one model."""

    role: ServedRole = Field(WRITER, description="Role that it answers: that of a prompt, or embeddings")
    url: ServerUrl = Field(description="Base URL. `PERSONAHUB_LLM_URL` and the like override the list of a role")
    model: str | None = Field(None, description="Model of the role; the same for all its servers")
    weight: float = Field(1.0, gt=0, le=1_000, description="Share of the requests, relative to the other servers")
    key_variable: str | None = Field(None, description="Environment variable with the key of this server")


class ServerOptions(NamedTuple):
    """What hub.toml says about a server besides its address."""

    weight: float = 1.0
    key_variable: str | None = None


class RunSection(Section):
    """Batches per run of a backfill, and when `personahub run` asks for confirmation on a terminal (--yes skips it)."""

    batches_per_run: int = Field(
        1, ge=0, description="Batches that one run of a backfill in the UI refreshes; 0: all of them in a single run"
    )

    confirm_cost: float = Field(
        10.0,
        ge=0,
        description="Ask for confirmation if a run would cost more than this; needs [prices]. `inf` never asks",
    )
    confirm_calls: float = Field(
        1_000,
        ge=0,
        description="Ask for confirmation if a run would make more calls than this, except to the stand-in. "
        "`inf` never asks",
    )


class Stage(Section):
    """Settings of both dedup stages."""

    max_drop_share: float = Field(
        0.8, ge=0, le=1, description="A check warns if a batch loses more than this share, with 100 or more drops"
    )
    max_keeper_share: float = Field(
        0.05, ge=0, le=1, description="A check warns if one keeper takes more than this share, with 100 or more drops"
    )


class Compute(Section):
    """Where dedup calculates."""

    engine: Literal["local", "ray"] = Field(
        "local", description="`ray`: kept rows of other batches are in actors of a Ray cluster. Decisions are the same"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Device of the exact semantic stage; `auto`: a GPU if torch has one and it is worth it"
    )
    shards: int = Field(0, ge=0, le=10_000, description="Actors of the Ray cluster; 0: one for each node")
    idle_minutes: float = Field(
        15,
        ge=0,
        le=10_080,
        description="Minutes without a batch after which an actor of the Ray cluster ends; 0: with each stage",
    )
    memory_mb: int = Field(
        4_096,
        ge=0,
        le=1_048_576,
        description="Memory for the rows of a dedup stage; beyond it they are in memory-mapped files. "
        "Decisions are the same",
    )


class Lexical(Stage):
    """First dedup stage: word-set Jaccard (paper: 0.9)."""

    threshold: float = Field(0.9, ge=0.5, le=1, description="Jaccard similarity from which a persona is a duplicate")
    method: Literal["exact", "minhash"] = Field(
        "exact", description="All pairs, or those that the paper's sketch finds (99.9 % at the threshold)"
    )
    ngram: int = Field(1, ge=1, le=10, description="Words in a row that count as one element of a set")
    permutations: int = Field(128, ge=16, le=1024, description="Number of MinHash permutations")

    @property
    def rule(self) -> str:
        """What is compared, and the threshold."""
        method = f"minhash of {self.permutations}" if self.method == "minhash" else self.method
        return f"{method}, {WORDS}, {self.ngram}-grams, Jaccard {self.threshold}"


class Embeddings(Section):
    """Vectors of the personas."""

    model: str = Field(
        "all-MiniLM-L6-v2",
        description="Embedding model; others than the default are downloaded once. "
        "Overridden by `PERSONAHUB_EMBED_MODEL`",
    )
    precision: Literal["float32", "int8"] = Field(
        "float32",
        description="Of all-MiniLM-L6-v2: int8 is faster and nearly the same; its vectors are another model's",
    )


class Semantic(Stage):
    """Second dedup stage: embedding cosine (paper: 0.9)."""

    threshold: float = Field(0.9, ge=0.5, le=1, description="Cosine similarity from which a persona is a duplicate")
    exact_minutes: float = Field(
        60.0,
        ge=0,
        description="Time up to which all pairs are compared, estimated on a sample of the vectors; beyond, only rows "
        "in neighbouring cells",
    )
    exact_up_to: int | None = Field(
        None,
        ge=0,
        description="Comparisons (new × all) up to which all are made, instead of `exact_minutes`; unset: by the time",
    )

    max_unread: float = Field(
        0.4,
        ge=0,
        le=1,
        description="A persona is not compared if the model does not read more than this share of its letters",
    )

    def rule(self, model: str) -> str:
        """What is compared, and the threshold."""
        return f"{model}, cosine {self.threshold}, unread up to {self.max_unread}"


class Verification(Section):
    """How the answers of several solvers are compared, and where programs run: docs/verified-answers.md."""

    min_share: float = Field(
        0.6,
        gt=0.5,
        le=1,
        description="A problem is verified if at least this share of its solutions, and two, have the same answer",
    )
    judge: bool = Field(
        False,
        description="Ask the judge about pairs of answers that no rule decides; without it they count as different",
    )
    sandbox: Literal["monty", "bubblewrap"] = Field(
        "monty", description="Where programs run: Monty; or bubblewrap for those that Monty does not support"
    )


PiiAction = Literal["off", "mask", "quarantine"]

_PII_KINDS = ("email", "phone", "card", "iban", "tax_id", "id_number", "ip", "url")


class Quality(Section):
    """Gates that judge personas and items before they are stored; docs/quality.md has their precision and recall.

    A kind of personal data is left (off), replaced by a placeholder (mask), or its row is quarantined.
    """

    email: PiiAction = Field("mask", description="E-mail addresses; mask: [EMAIL] in their place, in every stored form")
    phone: PiiAction = Field("mask", description="Telephone numbers")
    card: PiiAction = Field("mask", description="Numbers of payment cards")
    iban: PiiAction = Field("mask", description="Account numbers (IBAN)")
    tax_id: PiiAction = Field("mask", description="Tax and VAT numbers")
    id_number: PiiAction = Field("mask", description="Numbers of persons: social security, health, identity cards")
    ip: PiiAction = Field("off", description="IP addresses; off, because most are part of a technical task")
    url: PiiAction = Field("off", description="Web addresses; off, because most are names of sources and services")
    not_a_person: bool = Field(True, description="Quarantine personas that are organisations, places, texts, machines")
    named_person: bool = Field(True, description="Quarantine personas that begin with a full name")
    too_generic: bool = Field(True, description="Quarantine personas without a word that tells one person from another")
    instruction_echo: bool = Field(True, description="Quarantine personas and items that talk about the request")
    off_world: bool = Field(False, description="Quarantine game NPCs that do not belong to their world: docs/worlds.md")
    language: ExpectedLanguage = Field(
        "input",
        description="Language of personas and items, as a two-letter code; input: that of the document or persona, "
        "or of the prompt, unless the prompt names a language; off: any",
    )

    def kinds(self, action: PiiAction) -> frozenset[str]:
        """The kinds of personal data with an action."""
        return frozenset(kind for kind in _PII_KINDS if getattr(self, kind) == action)

    @property
    def rule(self) -> str:
        """All settings, as one text; a change judges the stored answers again."""
        settings = self.model_dump(exclude=None if self.off_world else {"off_world"})
        return "gates 1, " + ", ".join(f"{name} {value}" for name, value in settings.items())


class Decontamination(Section):
    """Items are compared with test sets; items that match are stored, but not released: docs/decontamination.md."""

    files: list[str] = Field([], description="JSONL and Parquet files with the test sets, relative to the home")
    columns: list[str] = Field(
        [],
        description="Columns with the text of a test row, joined; without them question, problem, prompt and the like",
    )
    long_run: int = Field(13, ge=5, le=50, description="Words in a row that an item and a test row share: contaminated")
    short_run: int = Field(8, ge=3, le=50, description="Words of the shorter runs")
    least_share: float = Field(
        0.5, gt=0, le=1, description="Share of a test row's shorter runs from which an item is contaminated"
    )
    similarity: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Cosine of the embeddings from which an item is contaminated; 1: do not compare them",
    )

    @property
    def rule(self) -> str:
        """The settings and the marks of the files, as one text; empty without files."""
        if not self.files:
            return ""
        return f"decontamination 1, {self.model_dump()}, {[_mark(Path(file)) for file in self.files]}"


def _mark(path: Path) -> str:
    """Size and time of change of a file; a missing one has a mark too, because the graph loads without it."""
    return f"{path.stat().st_size} {path.stat().st_mtime_ns}" if path.is_file() else "missing"


class WarehouseSection(Section):
    """The DuckDB file."""

    native_rows: int = Field(1_000_000, ge=0, description="Tables up to this size are copied in; larger ones are views")
    sorted_ids: int = Field(
        20_000_000,
        ge=0,
        description="Maximum number of ids that are sorted for fast lookups by why and lineage",
    )
    memory_mb: int = Field(
        4_096, ge=256, le=1_048_576, description="Memory of personahub sql; beyond it queries spill to the home"
    )


_OF_ONE_DATASET = {"turns": DIALOGUES, "worlds": NPCS}
"""Keys of `[datasets.NAME]` that only one dataset has."""


class StorageSection(Section):
    """A home on object storage."""

    journal_copy_seconds: float = Field(
        60.0,
        ge=1,
        le=86_400,
        description="Seconds between two copies of unpublished answers to the object storage: "
        "what a lost worker loses at most",
    )


class HubConfig(Section):
    """Everything in hub.toml."""

    sources: Sources = Sources()
    text_personas: TextPersonasTask = TextPersonasTask()
    related_personas: RelatedPersonasTask = RelatedPersonasTask()
    generation: Generation = Generation()
    prices: PricesSection = PricesSection()
    batch_api: BatchApi = BatchApi()
    run: RunSection = RunSection()
    compute: Compute = Compute()
    lexical: Lexical = Lexical()
    embeddings: Embeddings = Embeddings()
    semantic: Semantic = Semantic()
    verification: Verification = Verification()
    quality: Quality = Quality()
    decontamination: Decontamination = Decontamination()
    warehouse: WarehouseSection = WarehouseSection()
    storage: StorageSection = StorageSection()
    items: Items = Items()
    datasets: dict[str, DatasetTask] = Field({}, description="One table per dataset, such as [datasets.tools]")
    roles: dict[Role, RoleSection] = Field({}, description="One table per role, such as [roles.solver]")
    servers: list[ServerSection] = Field([], description="One table [[servers]] per server, if a role has several")

    @model_validator(mode="before")
    @classmethod
    def _read_memory_of_lexical(cls, values: Any) -> Any:
        """Read `lexical.memory_mb`, which is now `compute.memory_mb`."""
        lexical = values.get("lexical") if isinstance(values, dict) else None
        if not isinstance(lexical, dict) or "memory_mb" not in lexical:
            return values
        warnings.warn(
            "hub.toml: lexical.memory_mb is now compute.memory_mb; the old name is read until version 0.3",
            FutureWarning,
            stacklevel=2,
        )
        compute = {"memory_mb": lexical["memory_mb"]} | dict(values.get("compute", {}))
        return values | {"lexical": {k: v for k, v in lexical.items() if k != "memory_mb"}, "compute": compute}

    @field_validator("datasets")
    @classmethod
    def _has_the_settings_of_its_dataset(cls, datasets: dict[str, DatasetTask]) -> dict[str, DatasetTask]:
        for key, owner in _OF_ONE_DATASET.items():
            for name in (name for name, task in datasets.items() if key in task.model_fields_set and name != owner):
                raise ValueError(f"{name}.{key} has no effect: it is a key of [datasets.{owner}]")
        return datasets

    @field_validator("roles")
    @classmethod
    def _has_no_writer(cls, roles: dict[Role, RoleSection]) -> dict[Role, RoleSection]:
        if WRITER in roles:
            raise ValueError(
                "the writer has no table: set PERSONAHUB_LLM_URL, PERSONAHUB_LLM_MODEL, [generation] and [prices]; "
                f"roles with a table: {', '.join(ROLES[1:])}"
            )
        return roles

    @model_validator(mode="after")
    def _has_one_model_per_role(self) -> "HubConfig":
        for name in dict.fromkeys(server.role for server in self.servers):
            servers = [server for server in self.servers if server.role == name]
            if len(models := {server.model for server in servers if server.model}) > 1:
                raise ValueError(
                    f"servers of the role {name} have several models {sorted(models)}: the model is a part of the "
                    "identity of a request, so a role has one. Give the others to another role, or to a variant of it"
                )
            if len({public(server.url) for server in servers}) < len(servers):
                raise ValueError(f"a server of the role {name} is listed twice: give it a weight instead")
            if name in self.roles and self.roles[name].url:
                raise ValueError(f"roles.{name}.url and [[servers]] name servers of one role: keep one of them")
        return self

    def addresses(self, role: ServedRole) -> str | None:
        """The addresses of a role's `[[servers]]`, separated by commas; None without one."""
        return ", ".join(server.url for server in self.servers if server.role == role) or None

    def served_model(self, role: ServedRole) -> str | None:
        """The model of a role's `[[servers]]`; None if they name none."""
        return next((server.model for server in self.servers if server.role == role and server.model), None)

    def server_options(self, role: ServedRole) -> dict[str, ServerOptions]:
        """Weight and variable of the key of each server of a role, by its public address."""
        return {
            public(server.url.strip().rstrip("/")): ServerOptions(server.weight, server.key_variable)
            for server in self.servers
            if server.role == role
        }

    def role(self, name: Role) -> RoleSection:
        """The settings of a role, defaults where none are given."""
        return self.roles.get(name, RoleSection())

    def as_role(self, name: Role, variant: str = "", *, is_own_server: bool) -> "HubConfig":
        """The settings for requests of a role: its own `[generation]` and `[prices]` over those of the file.

        Args:
            name: the role.
            variant: name of one of its variants.
            is_own_server: whether its server is another than the writer's; headers and dialect of the writer's
                server are then not used.
        """
        section = self.role(name)
        if not (section.generation or section.prices or section.variants or is_own_server):
            return self
        common = self.generation.model_dump(exclude_unset=True, exclude=_OF_SERVER if is_own_server else None)
        own = section.variant(variant).prices or section.prices
        prices = self.prices if own is None else own.model_copy(update={"currency": self.prices.currency})
        generation = Generation(**{**common, **section.generation})
        return self.model_copy(update={"generation": generation, "prices": prices})

    def dataset(self, name: str) -> DatasetTask:
        """The settings of a dataset, defaults where none are given."""
        return self.datasets.get(name, DatasetTask())

    def enabled(self, name: str) -> bool | None:
        """Whether a run without a selection includes a dataset; None if hub.toml does not say so."""
        setting = self.dataset(name).enabled
        is_judged = name.endswith(ENDING) and self.dataset(judged_by(name)).judged
        return True if setting is None and is_judged else setting

    def comparison(self, dataset: str, *, is_derived: bool) -> Items:
        """How the items of a dataset are compared.

        Args:
            dataset: its name.
            is_derived: whether it is made from items of another dataset. Answers to one item are alike by intention,
                so they are compared only if the settings of the dataset say so.
        """
        own = self.dataset(dataset)
        overrides = {name: value for name in Items.model_fields if (value := getattr(own, name)) is not None}
        default = self.items.model_copy(update={"near_duplicates": False}) if is_derived else self.items
        return default.model_copy(update=overrides)

    def selecting(self, personas_from: Mapping[str, str]) -> "HubConfig":
        """A copy with other selections, by dataset."""
        changed = {
            name: self.dataset(name).model_copy(update={"personas_from": file}) for name, file in personas_from.items()
        }
        return self.model_copy(update={"datasets": {**self.datasets, **changed}})

    @classmethod
    def load(cls, path: Path, datasets: Collection[str] | None = None) -> "HubConfig":
        """Read hub.toml; the defaults if it is missing.

        Args:
            path: the file.
            datasets: names of the datasets; None for those of the home that the file is in.

        Raises:
            ConfigError: naming the file, every bad key, and the page with the valid ones.
        """
        try:
            text = path.read_text("utf-8-sig") if path.exists() else ""
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not valid TOML: {error}") from error
        if datasets is None:
            return _read_config(path, text, None)
        return _cached_config(path, text, tuple(datasets))


@lru_cache(64)
def _cached_config(path: Path, text: str, datasets: tuple[str, ...]) -> HubConfig:
    """Read a text once: a run asks for the settings hundreds of times."""
    return _read_config(path, text, datasets)


def _read_config(path: Path, text: str, datasets: Collection[str] | None) -> HubConfig:
    """The settings of a text of hub.toml; see `HubConfig.load`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    faults = _unknown_datasets(path, values.get("datasets"), datasets)
    try:
        config = HubConfig(**values)
    except ValidationError as error:
        faults += map(_fault, error.errors())
    if faults:
        # Without the cause: it quotes the values, and headers can contain secrets.
        text = "; ".join(faults)
        raise ConfigError(f"{path}: {text}. All keys with their defaults: docs/configuration.md") from None
    selections = {name: task.personas_from for name, task in config.datasets.items() if task.personas_from}
    tests = [str(path.parent / Path(file).expanduser()) for file in config.decontamination.files]
    if tests:
        own = config.decontamination.model_copy(update={"files": tests})
        config = config.model_copy(update={"decontamination": own})
    return config.selecting({name: str(path.parent / Path(file).expanduser()) for name, file in selections.items()})


def _unknown_datasets(path: Path, tables: Any, valid: Collection[str] | None) -> list[str]:
    """Faults of the names of datasets in hub.toml; the files of the home say which there are."""
    if not isinstance(tables, dict) or not tables:
        return []
    catalog = Catalog(path.parent)
    names = list(catalog.names if valid is None else valid)
    faults = [f"datasets.{name}: {catalog.unknown('dataset', name, names)}" for name in tables if name not in names]
    return faults + [
        f"datasets.{name}.judged: {name} has no rubric: write {path.parent / PROMPTS / FOLDER / name}.md"
        for name, table in tables.items()
        if isinstance(table, dict) and table.get("judged") and name in names and name + ENDING not in catalog.names
    ]


def _fault(error: ErrorDetails) -> str:
    """The error of a key, without the value of a header or an address."""
    path = list(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{'.'.join(path)}: unknown {'key' if len(path) > 1 else 'key or section'} {_hint(path)}"
    got = "" if {"headers", "url"} & {*path} else f", got {error['input']!r}"
    return f"{'.'.join(path)}: {error['msg']}{got}"


def _hint(path: list[str]) -> str:
    """The valid keys beside an unknown one, or the sections that have a key of this name."""
    *parents, name = path
    owners = [f"[{section}]" for section, keys in _sections().items() if name in keys]
    if owners:
        return f"{name!r} here; it is a key of {', '.join(owners)}"
    return choices(name, sorted(_sections().get(parents[0] if parents else "", _sections()[""])))


@cache
def _sections() -> dict[str, list[str]]:
    """The keys of every section; those of the file under an empty name."""
    fields = HubConfig.model_fields
    tables: dict[str, Any] = {"datasets": DatasetTask, "roles": RoleSection, "servers": ServerSection}
    models: dict[str, Any] = {name: field.annotation for name, field in fields.items()} | tables
    return {"": list(fields)} | {name: list(model.model_fields) for name, model in models.items()}


def server_list(addresses: str | None, variable: str) -> list[str]:
    """The addresses of the servers of a role.

    Raises:
        ConfigError: if one is listed twice, or the stand-in is one of several.
    """
    servers = split_addresses(addresses)
    if len({public(each.rstrip("/")) for each in servers}) < len(servers):
        raise ConfigError(
            f"{variable} lists a server twice ({', '.join(map(public, servers))}). To send it more requests, give it "
            "a weight in [[servers]] of hub.toml"
        )
    if len(servers) > 1 and STANDIN_URL in servers:
        raise ConfigError(f"{variable} lists {STANDIN_URL} among other servers: the stand-in cannot be one of several")
    if len(servers) > 1 and FILES_URL in servers:
        raise ConfigError(f"{variable} lists {FILES_URL} among other servers: requests go to files or to servers")
    return servers


def check_variables() -> None:
    """Check the names of all `PERSONAHUB_...` variables.

    Raises:
        ConfigError: naming every unknown one, and the valid one that is nearest.
    """
    valid = [f"PERSONAHUB_{name.upper()}" for name in (*Environment.model_fields, *_OTHER_VARIABLES)]
    names = [name for name in os.environ if name.upper().startswith("PERSONAHUB_") and name.upper() not in valid]
    if names:
        unknown = "; ".join(choices(name, valid) for name in sorted(names))
        raise ConfigError(f"unknown environment variables: {unknown}. Correct or unset them: docs/configuration.md")


class Environment(BaseSettings):
    """The `PERSONAHUB_…` variables; empty counts as unset."""

    model_config = SettingsConfigDict(env_prefix="PERSONAHUB_", env_ignore_empty=True, extra="ignore")

    home: Path = Path("hub")
    """The folder of the home; for one on object storage, its working copy."""
    work: Path | None = None
    """The folder of the working copies of homes on object storage."""
    llm_url: str | None = Field(None, repr=False)  # both can contain a password
    llm_model: str | None = None
    llm_api_key: SecretStr | None = None
    solver_llm_url: str | None = Field(None, repr=False)
    solver_llm_model: str | None = None
    solver_llm_api_key: SecretStr | None = None
    judge_llm_url: str | None = Field(None, repr=False)
    judge_llm_model: str | None = None
    judge_llm_api_key: SecretStr | None = None
    user_llm_url: str | None = Field(None, repr=False)
    user_llm_model: str | None = None
    user_llm_api_key: SecretStr | None = None
    assistant_llm_url: str | None = Field(None, repr=False)
    assistant_llm_model: str | None = None
    assistant_llm_api_key: SecretStr | None = None
    embed_url: str | None = Field(None, repr=False)
    embed_model: str = "all-MiniLM-L6-v2"
    embed_api_key: SecretStr | None = None
    executor: str = "in_process"  # of runs in a code location

    @model_validator(mode="before")
    @classmethod
    def _find_working_copy(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Replace the address of a home on object storage by its working copy."""
        home = str(values.get("home") or "")
        if not is_address(home):
            return values
        return {**values, "home": working_copy(home, Path(values.get("work") or default_parent()))}

    @cached_property
    def model_name(self) -> str:
        """The model; it is part of every request's key."""
        if self.llm_url == STANDIN_URL:
            return "standin"
        return self.llm_model or "default"

    def of_role(self, role: Role, name: Literal["url", "model", "api_key"]) -> Any:
        """The value of `PERSONAHUB_<ROLE>_LLM_<NAME>`; for the writer without its name."""
        return getattr(self, f"llm_{name}" if role == WRITER else f"{role}_llm_{name}")
