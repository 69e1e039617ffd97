"""The catalog of a home: its datasets and prompts, those of the package and those in the home.

    HOME/prompts/<name>.md      instead of the package's prompt of this name; with `fields:`, a dataset
    HOME/prompts/worlds/<name>.md   a world for game NPCs, beside those of the package
    HOME/datasets/<name>.py     a dataset: one class as in core/records.py, with its prompt in HOME/prompts
    HOME/prompts/rubrics/<name>.md   a rubric: the dataset <name>_scores, or instead of the package's rubric

A dataset is made from personas, or from the items of another dataset, its source (`core.records.Derivation`).

An invalid file is an error only for its dataset or task: `faults` has the errors by dataset. Code in `datasets/` is run
when the fields of a dataset are needed, and only from the home in use.
"""

import re
import sys
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType

from personahub_assets.core import project_files
from personahub_assets.core.column_types import column_fault
from personahub_assets.core.demonstrations import SUFFIX, Demonstration, read_demonstrations
from personahub_assets.core.dialogues import ASSISTANT, DIALOGUES
from personahub_assets.core.errors import ConfigError, PersonaHubError, PromptError, choices
from personahub_assets.core.exchange import Exchange
from personahub_assets.core.fields import COLUMNS, DERIVED_COLUMNS
from personahub_assets.core.project_files import PROMPTS
from personahub_assets.core.prompts import Prompt
from personahub_assets.core.records import (
    DERIVED,
    DIALOGUE_DATASETS,
    Answer,
    DatasetItem,
    Derivation,
    RelatedPersonas,
    TextPersonas,
    packaged,
)
from personahub_assets.core.reserved import name_fault
from personahub_assets.core.rubrics import ENDING, judged_by
from personahub_assets.core.rubrics import FOLDER as RUBRICS
from personahub_assets.core.text import digest
from personahub_assets.core.verified import JUDGE
from personahub_assets.core.worlds import FOLDER as WORLDS
from personahub_assets.core.worlds import NPCS, PARAMETER, World, read_worlds

UNEDITED = "EDIT THIS LINE"
"""Text in the files that `personahub new dataset` writes. A dataset with it is not asked: it would cost money."""

CLASSES = "datasets"
"""Folder of the classes of a home."""

PERSONA_TASKS: dict[str, type[Answer]] = {"text_personas": TextPersonas, "related_personas": RelatedPersonas}
"""The tasks other than datasets, with their answer classes."""

_VALUES = {
    "text_personas": ("text", "count", "granularity"),
    "related_personas": ("persona", "count"),
    JUDGE: ("problem", "left", "right"),
    DIALOGUES: ("persona", "conversation"),
    ASSISTANT: ("conversation",),
    NPCS: ("persona", PARAMETER),
}
DATASET_VALUES = ("persona",)
"""Names that a request of a dataset defines for the templates of its prompt."""
DERIVED_VALUES = ("text", "persona")
"""Names that a request about an item defines, besides the item's fields: its text, and its persona."""
_FIXED = {*DERIVED, *DIALOGUE_DATASETS}
"""Datasets of the package whose fields a home cannot change, because a step makes their rows."""
SOURCE_TEXT = "source_text"
"""A further one, if the item was itself made from an item: the text of that."""
_HEADER = re.compile(r"\A---\r?\n(.*?)(?:^---|\Z)", re.DOTALL | re.MULTILINE)
_FIELDS = re.compile(r"^fields[ \t]*:", re.MULTILINE)
_NAME = re.compile(r"^name[ \t]*:[ \t]*['\"]?([^'\"\s#]*)", re.MULTILINE)


class Catalog:
    """Datasets and prompts of one home, from its files at the time of construction.

    Args:
        home: the home; None for the package's own datasets and prompts.
    """

    def __init__(self, home: Path | None = None):
        self._home = home
        self.prompt_files = _files(home and home / PROMPTS, ".md")
        self.class_files = _files(home and home / CLASSES, ".py")
        self._packaged = packaged()
        self._rubrics = _files(project_files.root() / PROMPTS / RUBRICS, ".md")
        self.own_rubrics = _files(home and home / PROMPTS / RUBRICS, ".md")

    @cached_property
    def own(self) -> list[str]:
        """Names of the datasets that only this home has, those with faults included."""
        declared = {name for name, path in self.prompt_files.items() if _declares_fields(path, name)}
        return sorted((declared | self.class_files.keys()) - self._packaged.keys() - PERSONA_TASKS.keys())

    @cached_property
    def names(self) -> list[str]:
        """Names of all datasets, those with faults included."""
        return [*self._packaged, *self.own, *self.scores]

    @cached_property
    def scores(self) -> list[str]:
        """Names of the datasets with scores: one for each dataset with a rubric; a dataset of that name goes before."""
        judged = [name for name in (*self._packaged, *self.own) if name in self._rubrics or name in self.own_rubrics]
        return [name + ENDING for name in judged if name + ENDING not in self.own]

    @property
    def tasks(self) -> list[str]:
        """Names of all tasks that ask the language model, in the order of the graph."""
        return [*PERSONA_TASKS, *self.names]

    @cached_property
    def _items(self) -> dict[str, type[DatasetItem] | PersonaHubError]:
        return {name: self._load(name) for name in self.names}

    @property
    def datasets(self) -> dict[str, type[DatasetItem]]:
        """The classes of all datasets without a fault, by name."""
        return {name: item for name, item in self._items.items() if not isinstance(item, PersonaHubError)}

    @property
    def faults(self) -> dict[str, PersonaHubError]:
        """Datasets whose class cannot be made, with the reason."""
        return {name: item for name, item in self._items.items() if isinstance(item, PersonaHubError)}

    def item(self, name: str) -> type[DatasetItem]:
        """The class of a dataset.

        Raises:
            PromptError, ConfigError: if there is no such dataset, or its file is wrong.
        """
        item = self._load(name)
        if isinstance(item, PersonaHubError):
            raise item
        return item

    def derivation(self, name: str) -> Derivation | None:
        """How a dataset is made from another; None if it is made from personas, or its file is wrong."""
        item = self._load(name) if name in self.names else None
        return item.__derivation__ if isinstance(item, type) else None

    def is_derived(self, name: str) -> bool:
        """Whether a dataset is made from another, not from personas."""
        return self.derivation(name) is not None

    def sources(self, name: str) -> list[str]:
        """The datasets that a dataset is made from, the nearest first; empty if it is made from personas."""
        derivation = self.derivation(name)
        return [derivation.source, *self.sources(derivation.source)] if derivation else []

    @property
    def in_order(self) -> list[str]:
        """Names of all datasets, each after the one that it is made from."""
        return sorted(self.names, key=lambda name: len(self.sources(name)))

    def prompt(self, task: str, style: str = "") -> Prompt:
        """The prompt of a task: the home's, or the package's.

        Args:
            task: name of the task.
            style: a style of a derived dataset; empty for the first.

        Raises:
            PromptError: if the file is missing or malformed, or has another name in its front matter.
        """
        derivation = self.derivation(task)
        if derivation and style and derivation.style("") != style:
            return self._prompt(f"{task}.{style}", self.values(task))
        return self._prompt(task, self.values(task))

    def values(self, task: str) -> tuple[str, ...]:
        """Names that a request of a task defines for the templates of its prompt."""
        derivation = self.derivation(task)
        return self._values(derivation) if derivation else (*_VALUES.get(task, DATASET_VALUES), *self.controls(task))

    def controls(self, task: str) -> tuple[str, ...]:
        """Fields of a dataset that hub.toml can set; none for other tasks and for a dataset with a fault."""
        item = self._load(task) if task in self.names else None
        return item.__controls__ if isinstance(item, type) else ()

    def is_enabled(self, name: str, setting: bool | None) -> bool:
        """Whether a run without a selection includes a dataset.

        Args:
            name: the dataset.
            setting: `enabled` of hub.toml.
        """
        derivation = self.derivation(name)
        is_optional = name in DIALOGUE_DATASETS or (derivation is not None and derivation.is_optional)
        return not is_optional if setting is None else setting

    def _values(self, derivation: Derivation) -> tuple[str, ...]:
        source = self._unchecked(derivation.source)
        further = [SOURCE_TEXT] if source.__derivation__ else []
        return tuple(dict.fromkeys([*source.model_fields, *DERIVED_VALUES, *further]))

    def _prompt(self, task: str, values: tuple[str, ...]) -> Prompt:
        if task in self.scores:
            return _parsed(self._rubric(task), task, values)
        path = self.prompt_files.get(task)
        if path is None and task in self.class_files and task not in self._packaged:
            missing = self.class_files[task].parent.parent / PROMPTS / f"{task}.md"
            raise PromptError(f"{missing} is missing: the dataset {self.class_files[task]} needs its prompt file")
        if path is None:
            return project_files.prompt(task)
        return _parsed(path, task, values)

    @cached_property
    def worlds(self) -> dict[str, World]:
        """The worlds of game NPCs by name: those of the package, and those of the home, which take their place.

        Raises:
            PromptError: if a file is malformed.
        """
        homes = [self._home / PROMPTS / WORLDS] if self._home else []
        return read_worlds([project_files.root() / PROMPTS / WORLDS, *homes])

    def _rubric(self, scores: str) -> Path:
        """The file of a rubric: the home's, or the package's."""
        judged = judged_by(scores)
        return self.own_rubrics.get(judged) or self._rubrics[judged]

    def demonstrations(self, name: str, answer: type[Answer]) -> list[Demonstration]:
        """The example answers for a prompt: the home's, or the package's.

        Args:
            name: name of the prompt.
            answer: class of its answers.

        Raises:
            PromptError: if there is no file, or it is malformed.
        """
        paths = [*([self._home / PROMPTS] if self._home else []), project_files.root() / PROMPTS]
        files = [folder / f"{name}{SUFFIX}" for folder in paths]
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            raise PromptError(
                f"{files[0]} is missing: few-shot prompts need examples, one per line: "
                '{"persona": "…", "answer": {…}}; or set prompting = "zero_shot"'
            )
        return read_demonstrations(path, answer)

    def unedited(self, name: str) -> str:
        """The reason why a dataset of the home is not asked: its files still have lines of the template; else empty."""
        paths = (self.prompt_files.get(name), self.class_files.get(name)) if name in self.own else ()
        files = [f"{path}: line {lines}" for path in paths if path is not None and (lines := _unedited_lines(path))]
        return f"it is still the template ({'; '.join(files)}): write your own text there" if files else ""

    def check_edited(self, name: str) -> None:
        """Refuse a dataset that is still the template.

        Raises:
            PromptError: naming the lines to edit.
        """
        if reason := self.unedited(name):
            raise PromptError(f"{name}: {reason}")

    def shown_path(self, task: str) -> str:
        """The file of a task's prompt, as it is shown."""
        own = self.own_rubrics.get(judged_by(task)) if task in self.scores else self.prompt_files.get(task)
        packaged_path = f"{PROMPTS}/{RUBRICS}/{judged_by(task)}.md" if task in self.scores else f"{PROMPTS}/{task}.md"
        return str(own or packaged_path)

    def unknown(self, kind: str, name: str, valid: list[str]) -> str:
        """The error for an invalid name, with the reason if the home has a file of this name."""
        path = self.prompt_files.get(name)
        hint = ""
        if path is not None:
            hint = f". {path} is not a dataset: it needs `fields:` in its front matter, with `name: {name}`"
        return f"no {kind} {choices(name, valid)}{hint}"

    @property
    def files(self) -> list[Path]:
        """The used files of the home: prompts of tasks, and classes."""
        names = {*self.tasks, JUDGE}
        used = [path for name, path in self.prompt_files.items() if name.partition(".")[0] in names]
        rubrics = [path for name, path in self.own_rubrics.items() if name + ENDING in names]
        return sorted([*used, *rubrics, *self.class_files.values()])

    def _load(self, name: str) -> type[DatasetItem] | PersonaHubError:
        try:
            return self._class_of(name)
        except PersonaHubError as error:
            return error

    def _class_of(self, name: str) -> type[DatasetItem]:
        path, prompt_path = self.class_files.get(name), self.prompt_files.get(name)
        if name in self.scores:
            return self._scores_class(name)
        if name not in self._packaged and (path or prompt_path) and (reason := name_fault(name)):
            raise ConfigError(f"{path or prompt_path}: {reason}: rename the file")
        if path is not None and name in _FIXED:
            raise ConfigError(f"{path}: {name} has fixed fields: give the class another name")
        item = self._unchecked(name)
        origin = str(path or prompt_path)
        self._check_sources(name, origin)
        if item is not self._packaged.get(name):
            self._check_exchange(name, item, origin)
        if prompt_path is not None and path is None and _declares_fields(prompt_path, name):
            if name in _FIXED:
                raise PromptError(f"{origin}: {name} has fixed fields: remove `fields`")
            derivation = item.__derivation__
            _parsed(prompt_path, name, self._values(derivation) if derivation else DATASET_VALUES)
        return item

    def _scores_class(self, name: str) -> type[DatasetItem]:
        """The class of a dataset of scores, whose rubric uses only what its requests define."""
        path = self._rubric(name)
        if _parsed(path, name, None).criteria is None:
            raise PromptError(f"{path}: a rubric needs `criteria`, names with what they mean")
        item = _parsed(path, name, self._values(Derivation(judged_by(name)))).item
        assert item is not None
        return item

    def _unchecked(self, name: str) -> type[DatasetItem]:
        """The class of a dataset; its source and its templates are not looked at."""
        if name in self.scores:
            return self._scores_class(name)
        path, prompt_path = self.class_files.get(name), self.prompt_files.get(name)
        declares = prompt_path is not None and _declares_fields(prompt_path, name)
        if path is not None:
            if declares:
                raise ConfigError(f"{path}: {prompt_path} has `fields:` for the same dataset: keep one of them")
            return _class_in(path, _read(path, ConfigError))
        if prompt_path is not None and declares:
            item = _parsed(prompt_path, name, None).item
            assert item is not None
            return item
        if name in self._packaged:
            return self._packaged[name]
        raise ConfigError(self.unknown("dataset", name, self.names))

    def _check_exchange(self, name: str, item: type[DatasetItem], origin: str) -> None:
        """Refuse a prompt or an answer that is written from columns that do not exist."""
        if fault := self._exchange_fault(item):
            raise ConfigError(f"{origin}: exchange of {name}: {fault}")

    def exchange(self, name: str) -> Exchange | None:
        """What a user says and an assistant answers in an item; None if its dataset, or that of its source, differs."""
        item = self.item(name)
        return None if self._exchange_fault(item) else item.__exchange__

    def _exchange_fault(self, item: type[DatasetItem]) -> str:
        exchange, derivation = item.__exchange__, item.__derivation__
        if exchange is None:
            return ""
        of_source = [*self._unchecked(derivation.source).model_fields, *COLUMNS] if derivation else []
        own = [*item.model_fields, *COLUMNS, *(DERIVED_COLUMNS if derivation else ())]
        return exchange.fault(own, of_source)

    def _check_sources(self, name: str, origin: str) -> None:
        """Refuse a source that is no dataset, and a dataset that is made from itself."""
        path, derivation = [name], self._unchecked(name).__derivation__
        while derivation is not None:
            if derivation.source not in self.names:
                raise ConfigError(f"{origin}: source: {self.unknown('dataset', derivation.source, self.names)}")
            if derivation.source in path:
                raise ConfigError(f"{origin}: source: {' is made from '.join([*path, derivation.source])}")
            path.append(derivation.source)
            derivation = self._unchecked(derivation.source).__derivation__


def _files(folder: Path | None, suffix: str) -> dict[str, Path]:
    """Files of a folder by their stem, without README and names that start with _ or a dot."""
    try:
        paths = sorted(folder.iterdir()) if folder is not None else []
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from error
    return {
        path.stem: path
        for path in paths
        if path.suffix == suffix and path.name[0] not in "_." and path.stem.upper() != "README"
    }


def _read(path: Path, kind: type[PersonaHubError]) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise kind(f"{path}: cannot be read: {error}") from error


def _unedited_lines(path: Path) -> str:
    """Numbers of the lines that are still those of the template."""
    try:
        lines = _read(path, PromptError).splitlines()
    except PromptError:
        return ""
    return " and ".join(str(number) for number, line in enumerate(lines, 1) if UNEDITED in line)


def _declares_fields(path: Path, name: str) -> bool:
    """Whether a prompt file is a dataset: it has `fields` and its own name. Others are variants for `try --prompt`."""
    try:
        header = _HEADER.match(_read(path, PromptError))
    except PromptError:
        return False
    named = header and _NAME.search(header[1])
    return bool(header and _FIELDS.search(header[1]) and (named is None or named[1] == name))


def _parsed(path: Path, name: str, values: tuple[str, ...] | None) -> Prompt:
    prompt = _parse(str(path), _read(path, PromptError), values)
    if prompt.name != name:
        raise PromptError(f"{path}: the front matter has name: {prompt.name!r}, expected {name!r}")
    if prompt.fields and name in PERSONA_TASKS:
        raise PromptError(f"{path}: {name} is no dataset and has fixed fields: remove `fields`")
    return prompt


@lru_cache(256)
def _parse(origin: str, source: str, values: tuple[str, ...] | None) -> Prompt:
    """Parse once, so that the class of its fields is the same object while the file is unchanged."""
    return Prompt.parse(source, origin, values)


@lru_cache(256)
def _class_in(path: Path, source: str) -> type[DatasetItem]:
    """Run a file of `datasets/` and return its class.

    Raises:
        ConfigError: naming the line if the file cannot be run, has no class or several, or a field has no column.
    """
    module = ModuleType(f"personahub_home_{digest(str(path), size=12)}_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where pydantic looks for the types of annotations
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - the user's own file
    except SyntaxError as error:
        raise ConfigError(f"{path}: line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path}: line {_line_of(path, error)}: {type(error).__name__}: {error}") from error
    item = _only_class(path, module)
    for name, field in item.model_fields.items():
        if reason := column_fault(name, field.annotation, is_derived=item.__derivation__ is not None):
            raise ConfigError(f"{path}: line {_line_with(source, name)}: field {reason}")
    return item


def _only_class(path: Path, module: ModuleType) -> type[DatasetItem]:
    own = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, DatasetItem) and each.__module__ == module.__name__
    ]
    leaves = [each for each in own if not any(child is not each and issubclass(child, each) for child in own)]
    if len(leaves) != 1:
        names = ", ".join(each.__name__ for each in leaves) or "none"
        raise ConfigError(
            f"{path}: expected one class derived from DatasetItem (personahub_assets.core.records), got {names}. "
            "Derive nested models from Answer; another dataset is another file"
        )
    return leaves[0]


def _line_of(path: Path, error: BaseException) -> int | str:
    """The last line of the file that the traceback names."""
    trace, line = error.__traceback__, "?"
    lines = list[int]()
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return lines[-1] if lines else line


def _line_with(source: str, field: str) -> int | str:
    pattern = re.compile(rf"\s+{re.escape(field)}\s*:")
    return next((number for number, line in enumerate(source.splitlines(), 1) if pattern.match(line)), "?")


def classes(catalog: Catalog) -> Mapping[str, tuple[type[Answer], ...]]:
    """The classes of the answers of all tasks without a fault; a dataset with several styles has several."""
    own = {name: answer_classes(item) for name, item in catalog.datasets.items()}
    return {**{name: (answer,) for name, answer in PERSONA_TASKS.items()}, **own}


def answer_classes(item: type[DatasetItem]) -> tuple[type[Answer], ...]:
    """The classes of the answers of a dataset, by its styles, or by the sides of a dialogue."""
    if item.__turns__:
        return item.__turns__
    derivation = item.__derivation__
    return tuple(answer or item for answer in derivation.styles.values()) if derivation else (item,)
