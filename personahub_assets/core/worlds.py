"""Game worlds: files in `prompts/worlds/`, one for each world of the game NPCs (paper, section 4.5).

    ---
    name: saltmark
    description: One line for people.
    factions: [the Tide Wardens, the Brine Guild]
    tone: Salt-stained and practical.
    belongs: [tide engine, harbour bell]     # words and things that exist there
    never: [smartphone, airplane]            # things that do not
    ---
    The setting, in prose.

A file of the same name in the home takes the place of the project's.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from personahub_assets.core.errors import ConfigError, PromptError, choices
from personahub_assets.core.front_matter import FrontMatter, FrontMatterError
from personahub_assets.core.text import digest

NPCS = "game_npcs"
"""The dataset whose items live in a world."""

FOLDER = "worlds"
"""Folder of the worlds, in that of the prompts."""

PARAMETER = "world"
"""Name of the world's text in the prompt: a parameter, unless hub.toml names worlds."""

_PARTS = re.compile(r"\A---\n(.*?)\n---\n(.*)\Z", re.DOTALL)
_NAME = r"^[a-z][a-z0-9_-]{0,39}$"

Term = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=60)]


class World(BaseModel):
    """A world with its words.

    Attributes:
        factions: groups that a character can belong to, or be at odds with.
        belongs: words and things that exist in it.
        never: things that do not exist in it.
        setting: the prose below the front matter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(pattern=_NAME)]
    description: Annotated[str, StringConstraints(min_length=5, max_length=200)]
    factions: Annotated[list[Term], Field(min_length=1, max_length=20)]
    tone: Annotated[str, StringConstraints(min_length=3, max_length=300)]
    belongs: Annotated[list[Term], Field(min_length=1, max_length=60)]
    never: Annotated[list[Term], Field(max_length=60)] = []
    setting: Annotated[str, StringConstraints(strip_whitespace=True, min_length=40, max_length=8_000)]

    @property
    def text(self) -> str:
        """The world as a prompt shows it."""
        lines = [self.setting, f"Factions: {'; '.join(self.factions)}.", f"Tone: {self.tone}"]
        lines.append(f"Exists here: {'; '.join(self.belongs)}.")
        return "\n\n".join([*lines, *([f"Does not exist here: {'; '.join(self.never)}."] if self.never else [])])


@lru_cache(256)
def parse_world(source: str, origin: str) -> World:
    """Read a world from the text of its file.

    Raises:
        PromptError: naming `origin` and the line, if the front matter or the setting is malformed.
    """
    sections = _PARTS.match(source.replace("\r\n", "\n"))
    if not sections:
        raise PromptError(f"{origin}: expected two parts: front matter between two lines with '---', and the setting")
    try:
        header = FrontMatter(sections[1])
        return World(**header.values, setting=sections[2])
    except FrontMatterError as error:
        raise PromptError(f"{origin}: bad front matter: {error}") from error
    except ValidationError as error:
        raise PromptError(f"{origin}: {header.faults(error.errors(), World)}") from None
    except TypeError as error:  # a key that is not a string, or `setting` in the front matter
        raise PromptError(f"{origin}: bad front matter: {error}") from error


def read_worlds(folders: Collection[Path]) -> dict[str, World]:
    """The worlds of some folders, by name; of equal names the last folder's counts.

    Raises:
        PromptError: if a file cannot be read, is malformed, or has another name in its front matter.
    """
    paths = {path.stem: path for folder in folders for path in sorted(folder.glob("*.md")) if path.stem[0] not in "_."}
    paths = {name: path for name, path in paths.items() if name.upper() != "README"}
    return {name: _read(paths[name]) for name in sorted(paths)}


def _read(path: Path) -> World:
    try:
        world = parse_world(path.read_text("utf-8-sig"), str(path))
    except (OSError, ValueError) as error:
        raise PromptError(f"{path}: cannot be read: {error}") from error
    if world.name != path.stem:
        raise PromptError(f"{path}: the front matter has name: {world.name!r}, expected {path.stem!r}")
    return world


def chosen_worlds(worlds: Mapping[str, World], names: list[str] | Literal["all"]) -> dict[str, World]:
    """The worlds that hub.toml names.

    Raises:
        ConfigError: naming an unknown one with the valid ones.
    """
    wanted = list(worlds) if names == "all" else names
    if unknown := [name for name in wanted if name not in worlds]:
        raise ConfigError(f"datasets.{NPCS}.worlds: no world {choices(unknown[0], list(worlds))}")
    if not wanted:
        raise ConfigError(f"datasets.{NPCS}.worlds is empty: name one or more of {', '.join(worlds) or 'none'}")
    return {name: worlds[name] for name in wanted}


def world_of(persona_id: str, names: Collection[str]) -> str:
    """The world of a persona: by a hash of both, so that another world takes only its share of the personas.

    >>> world_of("p1", ["saltmark"])
    'saltmark'
    """
    return max(names, key=lambda name: digest(PARAMETER, name, persona_id))
