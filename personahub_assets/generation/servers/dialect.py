"""Dialects: how a request is written for a server: names of parameters, mode of JSON, place of the instructions.

OpenAI-compatible servers accept different parameters. `[generation]` of hub.toml sets the dialect, with a preset's
settings as defaults (`core/servers.toml`). With `mode = "auto"` the first request finds it: a refused part is written
in another way (`adaptations`), if that cannot change the question. Sampling parameters are never dropped
automatically: `remedy` names the line for hub.toml instead.

This module sends no requests. It imports Instructor when the first request is written, because that takes a second.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from personahub_assets.core import presets
from personahub_assets.core.config import Generation, Mode
from personahub_assets.core.errors import LLMError
from personahub_assets.core.prompts import Message, Prompt
from personahub_assets.core.records import Answer
from personahub_assets.generation.servers.complaints import Complaint
from personahub_assets.generation.servers.schemas import simplified

if TYPE_CHECKING:
    from personahub_assets.generation.requests import Task

_LADDER: tuple[Mode, ...] = ("json_schema", "json_object", "tools", "prompt")
_TRIES = 12  # maximal requests to find a dialect
_CHANGING = frozenset({"temperature", "top_p", "response_format", "tools", "tool_choice"})
"""Parameters of every request whose absence can change an answer; the absence of max_tokens cannot."""
_FORMAT = ("response_format", "tools", "tool_choice")


@dataclass(frozen=True)
class Dialect:
    """How requests are written; immutable, compared by value.

    Args:
        options: parameters of `[generation]` that tasks may override, by name.
        preset: name of the preset that knows the server's address, if another is set; for advice.
        path: dialects tried before, from the configured one to this one.
    """

    mode: Mode = "auto"
    simple_schema: bool = False
    keep_in_schema: tuple[str, ...] = ()
    fold_system: bool = False
    omit: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict, hash=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict, hash=False)
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    preset: str | None = field(default=None, compare=False)
    path: tuple["Dialect", ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, settings: Generation, url: str = "") -> "Dialect":
        """The dialect of hub.toml.

        Args:
            settings: of hub.toml, a preset's included.
            url: the server's address; it only changes the advice.
        """
        preset = presets.for_address(url)
        return cls(
            mode=settings.mode,
            simple_schema=settings.simple_schema,
            keep_in_schema=tuple(settings.keep_in_schema),
            fold_system=settings.fold_system,
            omit=tuple(settings.omit),
            rename=settings.rename,
            extra_body=settings.extra_body,
            options=settings.options,
            preset=None if settings.server else preset,
        )

    @property
    def configured(self) -> "Dialect":
        """The dialect of hub.toml that this one was adapted from; itself without an adaptation."""
        return self.path[0] if self.path else self

    @property
    def writes(self) -> Mode:
        """The way to request JSON; `auto` begins with json_schema."""
        return "json_schema" if self.mode == "auto" else self.mode

    def identity(self, prompt: Prompt | None = None) -> tuple[str, ...]:
        """The settings that can change an answer, for the keys of requests; empty with the default settings.

        An adapted dialect has the identity of the configured one, because a request's key must be known before it is
        sent.

        Args:
            prompt: its own parameters override those of `[generation]`; None uses only `[generation]`.
        """
        configured = self.configured
        sent = {**configured.options, **(prompt.options if prompt else {}), **configured.extra_body}
        is_simple = configured.simple_schema and configured.writes in ("json_schema", "tools")
        settings: dict[str, Any] = {
            "mode": "" if configured.writes == "json_schema" else configured.mode,
            "simple_schema": is_simple and ["simple", *sorted(configured.keep_in_schema)],
            "fold_system": configured.fold_system,
            "omit": sorted(_CHANGING & set(configured.omit)),
            "parameters": {name: value for name, value in sorted(sent.items()) if name not in configured.omit},
        }
        return tuple(f"{name}={json.dumps(value, sort_keys=True)}" for name, value in settings.items() if value)

    def arguments(self, task: "Task", model: str, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a request, without its messages.

        Args:
            task: gives the prompt and the answer class.
            model: the model's name on the server.
            sampling: temperature, top_p and max_tokens; None is not sent.
        """
        options = {**self.options, **task.prompt.options}
        body = {"model": model, **sampling, **options, **self._format(task.answer), **self.extra_body}
        sent = {name: value for name, value in body.items() if value is not None and name not in self.omit}
        return {self.rename.get(name, name): value for name, value in sent.items()}

    def messages(self, messages: list[Any], task: "Task") -> list[Any]:
        """The messages in this dialect; the list itself if nothing changes.

        The shared instructions stay first, so that a server's prefix cache works. If the schema is in the prompt, it is
        part of the instructions.

        Args:
            messages: the system message, the row's message, and optional further turns.
            task: gives the schema, which is part of the prompt in the modes json_object and prompt.
        """
        after_system, after_user = _handled(self.writes, task.answer)[1]
        if not (self.fold_system or after_system or after_user):
            return messages
        system, *turns = messages if messages[0]["role"] == "system" else [_message("system", ""), *messages]
        system = _message("system", system["content"] + after_system)
        if after_user and turns and turns[-1]["role"] == "user":
            turns[-1] = _message("user", turns[-1]["content"] + after_user)
        return _folded(system, turns) if self.fold_system else [system, *turns]

    def adaptations(self, refusal: str = "") -> Iterator["Dialect"]:
        """The dialects to try after a server refused the first request, most likely first.

        No adaptation changes the question, so there is none for a refused sampling parameter.

        Args:
            refusal: the server's message, as text or as the body of its reply; empty if it accepted the request and
                the answer was not JSON.
        """
        tried = [*self.path, self]
        for changes in self._changes(Complaint.read(refusal)) if refusal else self._other_modes():
            adapted = replace(self, **changes, path=tuple(tried))
            if adapted not in tried:
                tried.append(adapted)
                yield replace(adapted, path=(*self.path, self))

    def remedy(self, refusal: str) -> str:
        """The setting for hub.toml after a refusal, as the end of an error message."""
        complaint = Complaint.read(refusal)
        if complaint.is_about_length(self._name("max_tokens")):
            line = "in the table of the task, such as [text_personas]: max_tokens = (a number that the server takes)"
        elif demanded := complaint.demanded():
            line = f"under [generation]: {self._as_toml({'extra_body': {**self.extra_body, **demanded}})}"
        elif refused := self._refused(complaint):
            line = self._without(refused)
        else:
            line = f"under [generation]: {self._as_toml(self._advice(complaint))}"
        advice = f', or server = "{self.preset}", which has what this server needs' if self.preset else ""
        return f"Set in hub.toml {line}{advice}"

    @property
    def adapted(self) -> str:
        """The adaptations beyond the settings, as lines of hub.toml; empty without any."""
        configured = self.configured
        names = ("mode", "simple_schema", "keep_in_schema", "fold_system", "omit", "rename")
        return self._as_toml(
            {name: getattr(self, name) for name in names if getattr(self, name) != getattr(configured, name)}
        )

    def _format(self, answer: type[Answer]) -> dict[str, Any]:
        """The arguments that request JSON, from Instructor's handler; with a simpler schema if that is set."""
        arguments = _handled(self.writes, answer)[0]
        if not self.simple_schema or self.writes not in ("json_schema", "tools"):
            return arguments
        arguments = deepcopy(arguments)
        where, key = (
            (arguments["response_format"]["json_schema"], "schema")
            if self.writes == "json_schema"
            else (arguments["tools"][0]["function"], "parameters")
        )
        where[key] = simplified(where[key], frozenset(self.keep_in_schema))
        where.pop("strict", None)  # a simpler schema lacks keywords that a strict tool requires
        return arguments

    def _changes(self, complaint: Complaint) -> Iterator[dict[str, Any]]:
        """Changes of fields that can help against a complaint, most likely first."""
        hinted = list(self._hinted(complaint))
        yield from hinted
        if not complaint.is_about_format():
            is_of_value = complaint.is_about_length(self._name("max_tokens")) or complaint.demanded()
            if not hinted and (is_of_value or self._refused(complaint)):
                return
            if not self.simple_schema:
                yield {"simple_schema": True}
        yield from self._other_modes()

    def _hinted(self, complaint: Complaint) -> Iterator[dict[str, Any]]:
        """Changes of the named parts."""
        yield from self._renamings(complaint)
        yield from self._foldings(complaint)
        yield from self._simplifications(complaint)
        if self.mode == "tools" and complaint.names("tool_choice") and "tool_choice" not in self.omit:
            yield {"omit": (*self.omit, "tool_choice")}

    def _advice(self, complaint: Complaint) -> dict[str, Any]:
        """The change for hub.toml: of the named part, else of the mode."""
        if hint := next(self._hinted(complaint), None):
            return hint
        return next(self._other_modes(), {"mode": "auto"}) if complaint.is_about_format() else {"mode": "prompt"}

    def _other_modes(self) -> Iterator[dict[str, Any]]:
        """The modes after this one, if the configured mode is `auto`."""
        if self.configured.mode != "auto":
            return
        for mode in _LADDER[_LADDER.index(self.writes) + 1 :]:
            yield {"mode": mode}
        yield {"mode": "prompt", "fold_system": True, "simple_schema": True}

    def _renamings(self, complaint: Complaint) -> Iterator[dict[str, Any]]:
        sent = self._name("max_tokens")
        if "max_tokens" in self.omit or not complaint.names(sent) or complaint.is_about_length(sent):
            return
        others = complaint.other_limits(sent)
        for name in [*others, "max_completion_tokens" if sent == "max_tokens" else "max_tokens"]:
            yield {"rename": {**self.rename, "max_tokens": name}}
        yield {"omit": (*self.omit, "max_tokens")}

    def _foldings(self, complaint: Complaint) -> Iterator[dict[str, Any]]:
        if not self.fold_system and complaint.is_about_system_role():
            yield {"fold_system": True}

    def _simplifications(self, complaint: Complaint) -> Iterator[dict[str, Any]]:
        if complaint.wants_closed_objects() and "additionalProperties" not in self.keep_in_schema:
            yield {"simple_schema": True, "keep_in_schema": (*self.keep_in_schema, "additionalProperties")}
        elif not self.simple_schema and (complaint.is_about_schema() or complaint.names("strict")):
            yield {"simple_schema": True}

    def _refused(self, complaint: Complaint) -> list[str]:
        """The sent sampling parameters that the server refuses."""
        names = ["temperature", "top_p", *self.options, *self.extra_body, *complaint.options()]
        refused = [name for name in dict.fromkeys(names) if name not in self.omit and complaint.names(self._name(name))]
        if refused[:2] == ["temperature", "top_p"] and complaint.is_about_both():
            return ["top_p"]
        return refused

    def _without(self, refused: list[str]) -> str:
        """The line for hub.toml if parameters are refused."""
        extra = [name for name in refused if name in self.extra_body]
        if extra:
            return f"under [generation]: no {' and no '.join(extra)} in extra_body"
        line = f"under [generation]: {self._as_toml({'omit': (*self.omit, *refused)})}"
        return f"{line}, or another value in the table of the task, such as [text_personas]"

    def _name(self, parameter: str) -> str:
        return self.rename.get(parameter, parameter)

    @staticmethod
    def _as_toml(changes: Mapping[str, Any]) -> str:
        return ", ".join(f"{name} = {_toml(value)}" for name, value in changes.items())


async def settled(
    dialect: Dialect, refused: Callable[[Dialect], Awaitable[str | None]], other_remedy: Callable[[], str] = str
) -> Dialect:
    """The first dialect that a server accepts, the given one or an adaptation of it.

    Args:
        dialect: the first one to try.
        refused: sends one request and returns the server's refusal: its message, empty if the answer was not JSON, None
            if the answer is good. It raises errors that are independent of the dialect.
        other_remedy: remedy if the refusals have another cause, such as the key; empty without one.

    Raises:
        LLMError: if the server accepts no dialect, with its first message and the remedy.
    """
    waiting, tried, complaints = [(dialect, "")], list[Dialect](), list[str]()
    while waiting and len(tried) < _TRIES:
        current, before = waiting.pop(0)
        complaint = await refused(current)
        if complaint is None:
            return current
        complaints.append(complaint)
        tried.append(current)
        if complaint != before or not current.path:  # else the last change was not about the refused part
            queued = [*tried, *(candidate for candidate, _ in waiting)]
            waiting = [(c, complaint) for c in current.adaptations(complaint) if c not in queued] + waiting
    first = complaints[0] or "its answers are no JSON"
    remedy = other_remedy() or dialect.remedy(complaints[0])
    raise LLMError(f"the server takes no request as it is written: {first}. {remedy}")


@cache
def _handled(mode: Mode, answer: type[Answer]) -> tuple[dict[str, Any], tuple[str, str]]:
    """Instructor's additions for an answer class: arguments, and texts after the system and the user message."""
    from instructor import Mode as Instructed
    from instructor.v2.core.providers import Provider
    from instructor.v2.core.registry import mode_registry

    modes = {
        "json_schema": Instructed.JSON_SCHEMA,
        "json_object": Instructed.JSON,
        "tools": Instructed.TOOLS,
        "prompt": Instructed.MD_JSON,
    }
    handlers = mode_registry.get_handlers(Provider.OPENAI, modes[mode])
    _, arguments = handlers.request_handler(answer, {"messages": [_message("system", "-"), _message("user", "-")]})
    system, user = (message["content"].removeprefix("-") for message in arguments.pop("messages"))
    for tool in arguments.get("tools", ()):  # vLLM and OpenAI enforce the schema of strict tools only
        tool["function"]["strict"] = True
    return arguments, (system, user)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _folded(system: Message, turns: list[Any]) -> list[Any]:
    """The messages without a system role: its text comes first in the first user message."""
    if not turns or turns[0]["role"] != "user":
        return [_message("user", system["content"]), *turns]
    return [_message("user", f"{system['content']}\n\n{turns[0]['content']}"), *turns[1:]]


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_toml(child)}" for name, child in value.items()) + "}"
    return json.dumps(list(value) if isinstance(value, tuple) else value)
