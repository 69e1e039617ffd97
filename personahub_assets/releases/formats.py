"""Formats for training: the rows of a dataset or view as conversations, instructions or preferences.

The names and fields are those that trainers document: TRL (`messages`, `prompt` with `completion`, `prompt` with
`chosen` and `rejected`), ShareGPT (`conversations`) and Alpaca (`instruction`, `input`, `output`). Every format is
written from the exchange of a relation (`core.exchange`), or from its column `messages`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from personahub_assets.core.errors import ConfigError
from personahub_assets.core.exchange import MESSAGES, SOURCE, pieces
from personahub_assets.core.literals import quoted
from personahub_assets.core.rubrics import SCORE
from personahub_assets.releases.relations import Relation
from personahub_assets.warehouse.views import mean_scores

IDS = {
    "item_id": "Item of the dataset that the row was written from",
    "persona_id": "Persona that the item was written for, in personas",
    "batch": "Batch of the document or persona file that the row is from",
    "generation_id": "Call that wrote the item, in generations",
}
"""Columns that every row has besides those of the format, with their meanings."""

_TURNS = "STRUCT(role VARCHAR, content VARCHAR)[]"


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        name: as the option has it.
        columns: the columns with their meanings.
        values: SQL of each column, over the rows of `_exchanged` or `_paired`.
        fits: whether the rows of a relation can be written in it.
        needs: what a relation needs for it, in words.
        loading: lines of Python that use the loaded rows, shown in the card.
    """

    name: str
    columns: Mapping[str, str]
    values: Mapping[str, str]
    fits: Callable[[Relation], bool]
    needs: str
    loading: str

    @property
    def is_of_pairs(self) -> bool:
        """Whether a row has two answers."""
        return "rejected" in self.columns


def _has_conversations(relation: Relation) -> bool:
    return relation.has_messages or relation.has_answers


def _has_one_turn(relation: Relation) -> bool:
    return relation.has_answers and not relation.has_messages


def _has_prompt(relation: Relation) -> bool:
    return relation.exchange is not None and not relation.has_messages


def _has_rivals(relation: Relation) -> bool:
    """Whether there are several answers to one item, of which some are better."""
    several = _has_one_turn(relation) and bool(relation.source) and not relation.is_view
    return several and bool(relation.scores or relation.comparison)


_PROMPT = "[{'role': 'user', 'content': prompt}]"
_SAID = "[{'role': 'assistant', 'content': answer}]"
_SHAREGPT = (
    "list_transform(turns, lambda turn: {'from': CASE turn.role WHEN 'user' THEN 'human' WHEN 'assistant' THEN 'gpt' "
    "ELSE turn.role END, 'value': turn.content})"
)
_A_CONVERSATION = "a prompt and its answer, or a column messages"
_AN_ANSWER = "a prompt and its answer"

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(
            "messages",
            {"messages": "The conversation: turns with role and content"},
            {"messages": "turns"},
            _has_conversations,
            _A_CONVERSATION,
            "from trl import SFTTrainer\n\ntrainer = SFTTrainer(model=MODEL, train_dataset=rows)",
        ),
        Format(
            "prompt_completion",
            {"prompt": "The turns before the last answer", "completion": "The last answer, as a list of one turn"},
            {
                "prompt": "list_slice(turns, 1, len(turns) - 1)",
                "completion": "list_slice(turns, len(turns), len(turns))",
            },
            _has_conversations,
            _A_CONVERSATION,
            "from trl import SFTTrainer\n\ntrainer = SFTTrainer(model=MODEL, train_dataset=rows)",
        ),
        Format(
            "prompt",
            {"prompt": "The question, as a list of one turn", "answer": "The right answer, where one is known"},
            {"prompt": _PROMPT, "answer": "reference"},
            _has_prompt,
            "a prompt",
            "from trl import GRPOTrainer\n\n"
            "trainer = GRPOTrainer(model=MODEL, reward_funcs=REWARD, train_dataset=rows)  # REWARD gets `answer`",
        ),
        Format(
            "sharegpt",
            {"conversations": "The conversation: turns with from (human or gpt) and value"},
            {"conversations": _SHAREGPT},
            _has_conversations,
            _A_CONVERSATION,
            "rows[0]['conversations']  # format sharegpt of LLaMA-Factory, chat_template of Axolotl",
        ),
        Format(
            "alpaca",
            {"instruction": "The prompt", "input": "Always empty: the prompt is whole", "output": "The answer"},
            {"instruction": "prompt", "input": "''", "output": "answer"},
            _has_one_turn,
            _AN_ANSWER,
            "rows[0]['instruction'], rows[0]['output']  # format alpaca of LLaMA-Factory and Axolotl",
        ),
        Format(
            "preference",
            {
                "prompt": "The question, as a list of one turn",
                "chosen": "The better answer, as a list of one turn",
                "rejected": "The worse answer, as a list of one turn",
                "score_chosen": "Mean score of the better answer; 1 without scores: it agrees with other solvers",
                "score_rejected": "Mean score of the worse answer; 0 without scores: it does not agree",
            },
            {
                "prompt": _PROMPT,
                "chosen": _SAID,
                "rejected": _SAID.replace("answer}", "rejected_answer}"),
                "score_chosen": "score",
                "score_rejected": "rejected_score",
            },
            _has_rivals,
            "several answers to one item, with scores or compared by their final answers",
            "from trl import DPOTrainer\n\ntrainer = DPOTrainer(model=MODEL, train_dataset=rows)",
        ),
    )
}
"""The formats by name."""


def unfitting(form: Format, relation: Relation | None, name: str, relations: Mapping[str, Relation]) -> str:
    """The reason why a config cannot be written in a format, with the relations that can; empty if it can."""
    if relation is not None and form.fits(relation):
        return ""
    able = [each.name for each in fitting(form, relations.values())]
    return f"--format {form.name} needs {form.needs}, and {name} has none; it is possible for: {', '.join(able)}"


def fitting(form: Format, relations: Iterable[Relation]) -> list[Relation]:
    """The relations that can be written in a format, without the views _unique."""
    return [each for each in relations if form.fits(each) and not each.is_unique]


# --- SQL ---


def formatted(form: Format, relation: Relation, columns: Iterable[str], *, is_scored: bool) -> str:
    """Query for the rows of a relation in a format, with the columns of `IDS`; rows that lack a text are left out.

    Args:
        form: must fit the relation.
        relation: the relation.
        columns: its columns.
        is_scored: whether its items have scores.

    Raises:
        ConfigError: if there are neither scores nor a comparison to choose between answers.
    """
    values = ", ".join(f'{sql} AS "{name}"' for name, sql in form.values.items())
    rows = _paired(relation, is_scored=is_scored) if form.is_of_pairs else _exchanged(relation, columns)
    return f"SELECT {values}, {', '.join(IDS)} FROM ({rows}) ORDER BY item_id"


def _template(template: str, table: str = "item") -> str:
    """SQL of a text that a template makes; null if one of its columns is null."""
    texts = list[str]()
    for text, column in pieces(template):
        texts += [quoted(text)] if text else []
        name = column.removeprefix(SOURCE)
        texts += [f'{"source" if column.startswith(SOURCE) else table}."{name}"::VARCHAR'] if column else []
    return " || ".join(texts)


def _from(relation: Relation) -> str:
    joined = f"FROM {relation.name} AS item"
    if relation.reads_source:
        joined += f" JOIN {relation.source} AS source ON source.batch = item.batch AND source.item_id = item.source_id"
    return joined


def _ids(table: str = "item") -> str:
    return ", ".join(f"{table}.{name}" for name in IDS)


def _exchanged(relation: Relation, columns: Iterable[str]) -> str:
    """Rows with turns, prompt, answer and reference."""
    if relation.has_messages:
        turns = f"list_transform(item.{MESSAGES}, lambda turn: {{'role': turn.role, 'content': turn.content}})"
        return (
            f"SELECT {_ids()}, {turns}::{_TURNS} AS turns, NULL AS prompt, NULL AS answer, NULL AS reference "
            f"{_from(relation)} WHERE item.{MESSAGES}[len(item.{MESSAGES})].role = 'assistant'"
        )
    assert relation.exchange is not None
    prompt = _template(relation.exchange.prompt)
    answer = _template(relation.exchange.answer) if relation.exchange.answer else "NULL"
    needed = f"{prompt} IS NOT NULL" + (f" AND {answer} IS NOT NULL" if relation.exchange.answer else "")
    turns = f"[{{'role': 'user', 'content': {prompt}}}, {{'role': 'assistant', 'content': {answer}}}]"
    reference = "item.answer::VARCHAR" if "answer" in columns else "NULL::VARCHAR"
    return (
        f"SELECT {_ids()}, {turns}::{_TURNS} AS turns, {prompt} AS prompt, {answer} AS answer, "
        f"{reference} AS reference {_from(relation)} WHERE {needed}"
    )


def _paired(relation: Relation, *, is_scored: bool) -> str:
    """The best answer of each item with the worst one: prompt, answer, score, and those of the rejected answer."""
    assert relation.exchange is not None
    if not is_scored and not relation.comparison:
        raise ConfigError(
            f"--format preference: {relation.name} has no scores yet. Write them first: personahub run --select "
            f"{relation.scores}"
        )
    by_agreement = _BY_AGREEMENT.format(dataset=relation.dataset, comparison=relation.comparison)
    return _PAIRS.format(
        ids=_ids(),
        prompt=_template(relation.exchange.prompt),
        answer=_template(relation.exchange.answer),
        rows=_from(relation),
        dataset=relation.dataset,
        scored=mean_scores(relation.dataset, relation.scores, [SCORE]) if is_scored else by_agreement,
    )


# Solutions in sentences alone, so that both of a pair are of one kind.
_BY_AGREEMENT = """SELECT d.batch, d.item_id, list_contains(a."groups"[1].samples, d.sample)::INTEGER::DOUBLE AS score
    FROM {dataset} AS d
    JOIN {comparison} AS a ON a.batch = d.batch AND a.source_id = d.source_id AND a.source_hash = d.source_hash
    WHERE a.verified AND d.style = 'reasoning' AND d.final_answer IS NOT NULL"""
_PAIRS = """WITH scored AS (
    {scored}
),
answers AS (
    SELECT {ids}, item.source_id, item.sample, {prompt} AS prompt, {answer} AS answer, scored.score
    {rows}
    JOIN scored ON scored.batch = item.batch AND scored.item_id = item.item_id
    WHERE {prompt} IS NOT NULL AND {answer} IS NOT NULL
    AND (item.batch, item.item_id) NOT IN (SELECT (batch, item_id) FROM excluded_items WHERE dataset = '{dataset}')
)
SELECT best.*, worst.answer AS rejected_answer, worst.score AS rejected_score
FROM (FROM answers QUALIFY row_number() OVER (PARTITION BY batch, source_id ORDER BY score DESC, sample) = 1) AS best
JOIN (FROM answers QUALIFY row_number() OVER (PARTITION BY batch, source_id ORDER BY score, sample DESC) = 1) AS worst
    ON worst.batch = best.batch AND worst.source_id = best.source_id
WHERE best.score > worst.score AND best.answer <> worst.answer"""
