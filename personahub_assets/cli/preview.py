"""`personahub try` on the terminal: the prompt as sent, the answers, and their cost."""

from collections.abc import Iterator

from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn

from personahub_assets.cli.console import ERR, OUT, Label, progress, say, say_json, say_text, table
from personahub_assets.cli.online import tell_that_online
from personahub_assets.core.config import STANDIN_URL, Environment
from personahub_assets.core.text import shorten
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Usage
from personahub_assets.steps.preview import Preview, PreviewRow, PreviewSpec, preview
from personahub_assets.store.tables import Store

_CHARS = 600  # of a message
_WIDE = 120  # columns of a terminal that fit two answers side by side


def try_prompt(environment: Environment, spec: PreviewSpec, *, full: bool, as_json: bool) -> int:
    """Ask about a few rows and print everything.

    Args:
        environment: the home and the endpoint.
        spec: the specification of the preview.
        full: print long messages in full.
        as_json: print the rows as JSON.

    Returns:
        The exit code: 0, or 4 if more than `generation.max_rejected_share` of the answers were rejected.

    Raises:
        ConfigError, PromptError, StoreError, UnknownId, LLMError, LockHeld: as `steps.preview.preview`.
    """
    store, llm = Store(home=str(environment.home)).pulled(), LLM.of(environment)
    tell_that_online(store.config, "personahub try")
    columns = Label("asking"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn()
    with progress(*columns, to=ERR, transient=True) as bars:
        task = bars.add_task("", total=None)
        trial = preview(store, llm, spec, lambda done, total: bars.update(task, completed=done, total=total))
    if as_json:
        say_json(trial.frame().to_dicts())
    else:
        _show(trial, full=full)
        _show_total(trial, is_standin=environment.llm_url == STANDIN_URL)
    return 4 if trial.rejected > store.config.generation.max_rejected_share * len(trial.rows) else 0


def _show(trial: Preview, *, full: bool) -> None:
    groups = trial.by_input
    say((trial.task, "bold"), f"  {' against '.join(variant.title for variant in trial.variants)}", to=OUT)
    for rows in _by_message(groups[0], 0):
        say(*_of_variants(rows, groups[0], "instructions"), "  the same for every row", to=OUT)
        _show_text(rows[0].messages[0]["content"], full=full)
    for number, group in enumerate(groups, 1):
        source = group[0].source
        say(to=OUT)
        where = f"  batch {source.batch}" if source.batch else ""
        say((f"{number} of {len(groups)}  {source.input_id}", "bold"), where, to=OUT)
        if source.text not in group[0].messages[-1]["content"]:
            say(("input", "cyan"), to=OUT)
            _show_text(source.text, full=full)
        for rows in _by_message(group, -1):
            say(*_of_variants(rows, group, "message"), to=OUT)
            _show_text(rows[0].messages[-1]["content"], full=full)
        _show_answers(trial, group)


def _by_message(group: list[PreviewRow], position: int) -> Iterator[list[PreviewRow]]:
    """The rows of an input by one of their messages: equal ones are shown once."""
    texts = [row.messages[position]["content"] for row in group]
    for text in dict.fromkeys(texts):
        yield [row for row, message in zip(group, texts, strict=True) if message == text]


def _of_variants(rows: list[PreviewRow], group: list[PreviewRow], name: str) -> list[tuple[str, str]]:
    """The heading of a message, with its variant if the variants differ."""
    pieces = [(name, "cyan")]
    return pieces if len(rows) == len(group) else [*pieces, (f"  {rows[0].variant.title}", "bold")]


def _show_text(text: str, *, full: bool) -> None:
    say_text(text if full else shorten(text, _CHARS), indent=2, to=OUT)
    if not full and len(text) > _CHARS:
        say(f"{len(text):,} characters; --full shows all", style="dim", indent=2, to=OUT)


def _show_answers(trial: Preview, group: list[PreviewRow]) -> None:
    if len(group) > 1 and OUT.is_terminal and OUT.width >= _WIDE:
        cells = [f"{_answer_text(row)}\n\n{_figures(trial, row)}" for row in group]
        table([row.variant.title for row in group], [cells], to=OUT)
        return
    for row in group:
        title = f"  {row.variant.title}" if len(group) > 1 else ""
        is_accepted = row.answer is not None
        say(("answer" if is_accepted else "rejected", "green" if is_accepted else "bold yellow"), title, to=OUT)
        say_text(_answer_text(row), indent=2, to=OUT)
        say(_figures(trial, row), style="dim", indent=2, to=OUT)


def _answer_text(row: PreviewRow) -> str:
    """The fields of an answer, or the reason of its rejection and the raw text."""
    if row.answer is not None:
        return row.answer
    outcome = row.answered.outcome
    return f"{outcome.reason}: {outcome.detail or ''}\nraw: {outcome.response or '(nothing)'}"


def _figures(trial: Preview, row: PreviewRow) -> str:
    outcome = row.answered.outcome
    if not outcome.attempts:
        return "answered before, by the same request of another row"
    tokens = f"{outcome.prompt_tokens:,} + {outcome.completion_tokens:,} tokens"
    calls = f", {outcome.attempts} calls" if outcome.attempts > 1 else ""
    figures = f"{tokens}{calls}, {outcome.flight_s:.1f} s{_money(outcome.cost, trial.currency)}"
    return figures if row.answered.is_sent else f"answered before for {figures}; nothing is paid now"


def _money(cost: float, currency: str | None) -> str:
    return ", " + f"{cost:,.6f}".rstrip("0").rstrip(".") + f" {currency}" if currency else ""


def _show_total(trial: Preview, *, is_standin: bool) -> None:
    say(to=OUT)
    if len(trial.variants) > 1:
        for variant, usage in zip(trial.variants, trial.usage, strict=True):
            say(f"{variant.title}: {_spent([usage], trial.currency)}", to=OUT)
    say(("total: ", "bold"), f"{_spent(trial.usage, trial.currency)}, {trial.seconds:.1f} s", to=OUT)
    if trial.reused:
        say(f"{trial.reused} of {len(trial.rows)} answers were in the home: nothing is paid for them.", to=OUT)
    if trial.currency is None:
        say("No price: set prompt and completion in [prices] of hub.toml, in money per million tokens.", to=OUT)
    for line in (*trial.notes, _what_is_kept(trial)):
        say(line, to=OUT)
    if is_standin:
        say("The answers are of the stand-in, which is not a language model.", style="yellow", to=OUT)


def _spent(usages: list[Usage], currency: str | None) -> str:
    usage = Usage.together(usages)
    plural = "" if usage.calls == 1 else "s"
    tokens = f"{usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens"
    return f"{usage.calls} call{plural}, {tokens}{_money(usage.cost, currency)}"


def _what_is_kept(trial: Preview) -> str:
    if not trial.is_kept:
        return "Nothing is kept: the home has no batch yet. The next call pays again."
    return (
        "No row was written. The answers are kept: the next run with the same prompt, model and settings reuses them "
        f"(personahub run --select {trial.task})."
    )
