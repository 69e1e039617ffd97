"""Prompts: front matter, instructions shared by all rows, and the text of the row last.

File format (`prompts/<name>.md`):

    ---
    name: math_problems
    description: One line for people.
    role: solver           # optional: who answers, see core/roles.py
    temperature: 0.9
    max_tokens: 900
    parameters: {audience: adults}
    fields: {…}            # optional: the schema of the answer, see core/fields.py
    source: math_problems  # optional, with fields: the dataset whose items are the input, instead of the personas
    exchange: {prompt: "{source.problem}", answer: "{hint}"}  # optional, with fields: see core/exchange.py
    criteria: {clear: What it means}  # of a rubric, instead of fields: see core/rubrics.py
    ---
    Instructions, the same for every row: {{ audience }}
    ---
    <data name="persona">
    {{ persona }}
    </data>

The order matters: a server with a prefix cache reads shared instructions once (measured: 2.2 to 3.2 times the prompt
throughput of the other order). Templates are Jinja; an undefined name is an error.
"""

import json
import re
from collections.abc import Collection, MutableMapping
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

import jinja2
import jinja2.meta
import jinja2.nodes
import jinja2.sandbox
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from personahub_assets.core.control_tokens import break_tokens
from personahub_assets.core.errors import PromptError, choices
from personahub_assets.core.exchange import Exchange
from personahub_assets.core.fields import DERIVED_COLUMNS, ColumnName, Columns, item_class
from personahub_assets.core.front_matter import BELOW, FrontMatter, FrontMatterError
from personahub_assets.core.records import DatasetItem
from personahub_assets.core.roles import WRITER, Role
from personahub_assets.core.rubrics import ENDING, RESERVED, listed, scores_class
from personahub_assets.core.sampling import MAX_TOKENS, SamplingOptions
from personahub_assets.core.text import digest

_PARTS = re.compile(r"\A---\n(.*?)\n---\n(.*?)\n---\n(.*)\Z", re.DOTALL)

Message = dict[Literal["role", "content"], str]

WANTED = "wanted"
"""Shared value that is added to the text of a row: what its answer has to be."""


class _Environment(jinja2.sandbox.SandboxedEnvironment):
    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        # A plain dict: Jinja copies its chain of maps for every row, a third of the time of rendering one.
        return {**self.globals, **(d or {})}


_JINJA = _Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=False)


@lru_cache(256)
def _compiled(template: str) -> jinja2.Template:
    """Compile a template once: copies of a prompt with other settings have the same texts."""
    return _JINJA.from_string(template)


@lru_cache(256)
def _names(template: str) -> frozenset[str]:
    """The names that a template uses."""
    return frozenset(jinja2.meta.find_undeclared_variables(_JINJA.parse(template)))


class Sampling(BaseModel):
    """Sampling parameters; never a seed (it stopped vLLM's CPU engine at 96 requests in flight)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(1024, ge=16, le=MAX_TOKENS)


class Prompt(Sampling, SamplingOptions):
    """One task's prompt file, parsed.

    `sampling` has the parameters of every request, `options` (`SamplingOptions`) those that only some servers accept.
    `vary` asks the second and further samples of a row to be different; it is off where all should be the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ignored_types=(cached_property,))

    name: str
    description: str
    role: Role = WRITER
    parameters: dict[str, str | int | float | bool] = {}
    vary: bool = True
    fields: Columns | None = None
    source: str | None = None
    exchange: Exchange | None = None
    criteria: Annotated[dict[ColumnName, str], Field(min_length=1, max_length=8)] | None = None
    instructions: str
    row: str

    @field_validator("source")
    @classmethod
    def _is_beside_fields(cls, source: str | None, info: ValidationInfo) -> str | None:
        columns = info.data.get("fields") or {}
        if source is not None and not columns:
            raise ValueError("`source` stands beside `fields`; a class names it: DatasetItem, derivation=Derivation(…)")
        if source is not None and (taken := sorted(set(DERIVED_COLUMNS) & set(columns))):
            raise ValueError(f"fields: the table has a column {taken[0]} already: choose another name")
        return source

    @field_validator("exchange")
    @classmethod
    def _belongs_to_fields(cls, exchange: Exchange | None, info: ValidationInfo) -> Exchange | None:
        if exchange is not None and not info.data.get("fields"):
            raise ValueError("`exchange` stands beside `fields`; a class has it as __exchange__")
        return exchange

    @field_validator("criteria")
    @classmethod
    def _make_a_rubric(cls, criteria: dict[str, str] | None, info: ValidationInfo) -> dict[str, str] | None:
        if criteria is None:
            return None
        if info.data.get("fields") or not str(info.data.get("name")).endswith(ENDING):
            raise ValueError(f"`criteria` are for a rubric, whose name ends with {ENDING} and which has no `fields`")
        if taken := sorted({*RESERVED, *DERIVED_COLUMNS, *(f"{name}_reason" for name in criteria)} & criteria.keys()):
            raise ValueError(f"the table has a column {taken[0]} already: choose another name for the criterion")
        return criteria

    @model_validator(mode="before")
    @classmethod
    def _list_criteria(cls, values: Any) -> Any:
        """Put the criteria among the parameters, where templates, fingerprint and record of the prompt have them."""
        criteria = values.get("criteria") if isinstance(values, dict) else None
        if not isinstance(criteria, dict) or "criteria" in (values.get("parameters") or {}):
            return values
        text = listed({str(name): str(meaning) for name, meaning in criteria.items()})
        return {**values, "parameters": {**(values.get("parameters") or {}), "criteria": text}}

    @classmethod
    def parse(cls, source: str, origin: str, values: Collection[str] | None = None) -> "Prompt":
        """Read a prompt from the text of its file.

        Args:
            source: the text.
            origin: name of the file, for errors.
            values: names that a request defines for the templates besides the parameters; None does not check them.

        Raises:
            PromptError: naming `origin` and the line, if the three parts, the front matter or a template are malformed.
        """
        source = source.replace("\r\n", "\n")
        sections = _PARTS.match(source)
        if not sections:
            raise PromptError(
                f"{origin}: expected three parts, separated by '---': front matter, shared instructions, row template"
            )
        try:
            header = FrontMatter(sections[1])
        except FrontMatterError as error:
            raise PromptError(f"{origin}: bad front matter: {error}") from error
        if taken := set(BELOW) & header.values.keys():
            raise PromptError(
                f"{origin}: bad front matter: line {header.line(list(taken))}: {', '.join(taken)} stands below it"
            )
        try:
            prompt = cls(**header.values, instructions=sections[2].strip(), row=sections[3].strip())
        except ValidationError as error:
            raise PromptError(f"{origin}: bad front matter: {header.faults(error.errors(), cls)}") from None
        except TypeError as error:  # a key that is not a string
            raise PromptError(f"{origin}: bad front matter: {error}") from error
        for section in (2, 3):
            text = sections[section]
            skipped = len(text) - len(text.lstrip())
            first = source.count("\n", 0, sections.start(section) + skipped) + 1
            prompt.check_template(text.strip(), f"{origin}: line", first, values)
        return prompt

    def check_template(self, template: str, origin: str, first: int, values: Collection[str] | None) -> None:
        """Check the syntax of a template, and the names that it uses.

        Args:
            first: number of its first line.
            values: names that are defined besides the parameters; None does not check names.

        Raises:
            PromptError: naming the line, and the name with the valid ones.
        """
        try:
            tree = _JINJA.parse(template)
        except jinja2.TemplateSyntaxError as error:
            raise PromptError(f"{origin} {first + error.lineno - 1}: bad template: {error.message}") from error
        if values is None:
            return
        valid = sorted({*self.parameters, *values})
        for name in sorted(jinja2.meta.find_undeclared_variables(tree) - {*valid, *_JINJA.globals}):
            line = next(node.lineno for node in tree.find_all(jinja2.nodes.Name) if node.name == name)
            raise PromptError(
                f"{origin} {first + line - 1}: {{{{ {name} }}}} has no value: {choices(name, valid)}. "
                "Another name needs a value in `parameters` of the front matter"
            )

    @cached_property
    def item(self) -> type[DatasetItem] | None:
        """The class that `fields` or `criteria` make; None without either."""
        if self.criteria:
            return scores_class(self.name, self.description, self.criteria)
        if not self.fields:
            return None
        return item_class(self.name, self.description, self.fields, self.source or "", self.exchange)

    def as_file(self) -> str:
        """The text of a prompt file with the same name, templates, parameters and sampling, without `fields`."""
        basic = {"name": self.name, "description": self.description, **self.sampling.model_dump(), **self.options}
        header = basic | ({"role": self.role} if self.role != WRITER else {}) | ({} if self.vary else {"vary": False})
        header |= {"parameters": self.parameters} if self.parameters else {}
        head = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
        return f"---\n{head}---\n{self.instructions}\n---\n{self.row}\n"

    @property
    def sampling(self) -> Sampling:
        """Temperature, top_p and max_tokens of the front matter."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)

    def with_settings(self, parameters: dict[str, Any], sampling: dict[str, Any]) -> "Prompt":
        """Return a copy with some parameters and sampling values replaced.

        Raises:
            PromptError: if the prompt does not declare a parameter.
        """
        unknown = sorted(set(parameters) - set(self.parameters))
        if unknown:
            raise PromptError(f"prompt {self.name}: unknown parameters {unknown}; it has {sorted(self.parameters)}")
        # Constructed, not copied: a copy would keep the cached fingerprint.
        own = {name: getattr(self, name) for name in type(self).model_fields}
        return Prompt(**{**own, **sampling, "parameters": {**self.parameters, **parameters}})

    def with_instructions(self, text: str) -> "Prompt":
        """Return a copy with a paragraph added to the shared instructions, as a template; empty for none."""
        if not text:
            return self
        own = {name: getattr(self, name) for name in type(self).model_fields}
        return Prompt(**{**own, "instructions": f"{self.instructions}\n\n{text}"})

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything in the prompt that can change an answer (`max_tokens` cannot change a complete one)."""
        parameters = sorted(self.parameters.items())
        options = [json.dumps(self.options, sort_keys=True)] if self.options else []
        options += [] if self.vary else ["not varied"]
        return digest(
            self.instructions, self.row, str(parameters), str(self.temperature), str(self.top_p), *options, size=16
        )

    @cached_property
    def row_names(self) -> frozenset[str]:
        """Names that the row's own text uses, besides the parameters."""
        return _names(self.row) - {*self.parameters}

    @cached_property
    def names(self) -> frozenset[str]:
        """Names that instructions and row use, parameters included."""
        return _names(self.instructions) | _names(self.row)

    @cached_property
    def _templates(self) -> tuple[jinja2.Template, jinja2.Template]:
        return _compiled(self.instructions), _compiled(self.row)

    @cached_property
    def _shared(self) -> dict[tuple[tuple[str, Any], ...], str]:
        return {}

    def messages(self, values: dict[str, str], sample: int = 0, **shared: str | int) -> list[Message]:
        """Render the two messages of one row.

        Args:
            values: texts of the row; they are escaped so that they cannot close their data section or turn.
            sample: number of the answer for this row; from 1 on it is added to the row, so that answers vary.
            shared: values for the shared instructions, such as a count; they override parameters.

        Raises:
            PromptError: if the template is malformed or uses an undefined value.
        """
        wanted = shared.pop(WANTED, "")
        safe = {name: break_tokens(text) for name, text in values.items()}
        try:
            key = tuple(sorted(shared.items()))
            if key not in self._shared:
                self._shared[key] = self._templates[0].render({**self.parameters, **shared})
            row = self._templates[1].render({**self.parameters, **shared, **safe})
        except jinja2.TemplateError as error:
            names = sorted({*self.parameters, *shared, *values})
            raise PromptError(f"prompt {self.name}: {error}; defined are {names}") from error
        if wanted:
            row += f"\n\n{wanted}"
        if sample and self.vary:
            row += f"\n\nThis is variant {sample + 1}: make it clearly different from what comes to mind first."
        return [{"role": "system", "content": self._shared[key]}, {"role": "user", "content": row}]
