"""A preview as Markdown: the prompt as sent, the answers, and their cost."""

from personahub_assets.core.text import printable
from personahub_assets.defs.metadata.markup import fenced
from personahub_assets.steps.preview import Preview, PreviewRow


def markdown(trial: Preview) -> str:
    """Show each row with its messages and answers; foreign texts are in fences, so that they are not markup."""
    first = trial.rows[: len(trial.by_input)]
    blocks = [f"**Instructions**, the same for every row\n{fenced(first[0].messages[0]['content'])}"]
    for number, group in enumerate(trial.by_input, 1):
        source = group[0].source
        blocks.append(f"### {number} of {len(trial.by_input)}: {_code(source.input_id)}")
        blocks.append(f"**Message**\n{fenced(group[0].messages[-1]['content'])}")
        blocks += map(_answer, group)
    return "\n\n".join(blocks)


def _answer(row: PreviewRow) -> str:
    outcome = row.answered.outcome
    now = "" if row.answered.is_sent else ", answered before"
    figures = f"{outcome.prompt_tokens:,} + {outcome.completion_tokens:,} tokens, {outcome.flight_s:.1f} s{now}"
    if row.answer is not None:
        return f"**Answer** ({figures})\n{fenced(row.answer)}"
    text = f"{outcome.detail or ''}\n{outcome.response}"
    return f"**Rejected as {outcome.reason}** ({figures})\n{fenced(text)}"


def _code(text: str) -> str:
    return f"`{printable(text).replace('`', '')}`"
