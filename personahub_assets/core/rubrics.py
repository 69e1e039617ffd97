"""Rubrics: how a judge scores the items of a dataset, as `prompts/rubrics/<dataset>.md`.

A rubric is a prompt with `criteria` in its front matter. It makes the dataset `<dataset>_scores`: for each criterion a
reason and then an integer from 1 to 5, and at the end a reason and a score for the whole. The prompt's parameter
`criteria` lists them, so they are written once.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints, create_model

from personahub_assets.core.fields import camel
from personahub_assets.core.records import DatasetItem, Derivation

ENDING = "_scores"
"""Ending of the name of the dataset with the scores of another one."""
FOLDER = "rubrics"
"""Folder of the rubrics, below that of the prompts."""
SCORE = "score"
"""The score for the whole."""
LEAST, MOST = 1, 5
RESERVED = (SCORE, "reason")

_REASON = Annotated[str, StringConstraints(min_length=3, max_length=400)]
_SCORE = Annotated[int, Field(ge=LEAST, le=MOST)]


class Scores(DatasetItem):
    """Scores of an item by a judge, from 1 to 5, each with its reason."""

    def as_text(self) -> str:
        """Write the scores with their reasons, that for the whole first."""
        values = self.model_dump()
        lines = [f"{_words(name)}: {values[name]}. {values[f'{name}_reason']}" for name in criteria_of(type(self))]
        return "\n".join([f"Score: {values[SCORE]}. {values['reason']}", *lines])


def criteria_of(item: type[DatasetItem]) -> list[str]:
    """The criteria of a class of scores, without the score for the whole; empty for other classes."""
    fields = item.model_fields if issubclass(item, Scores) else {}
    return [name for name in fields if f"{name}_reason" in fields]


def judged_by(scores: str) -> str:
    """The dataset that a dataset of scores is about."""
    return scores.removesuffix(ENDING)


def scores_class(name: str, description: str, criteria: Mapping[str, str]) -> type[DatasetItem]:
    """Make the class of a dataset of scores; a reason stands before its score, so that the score follows from it.

    Args:
        name: such as `tools_scores`.
        description: becomes the description of the table.
        criteria: names with what they mean.
    """
    fields: dict[str, Any] = {}
    for criterion, meaning in criteria.items():
        fields[f"{criterion}_reason"] = (
            _REASON,
            Field(description=f"In one sentence, for {_words(criterion).lower()}"),
        )
        fields[criterion] = (_SCORE, Field(description=meaning))
    fields["reason"] = (_REASON, Field(description="In one or two sentences, for the whole"))
    fields[SCORE] = (_SCORE, Field(description="The whole: 1 is unusable, 3 has faults, 5 is without fault"))
    item: type[DatasetItem] = create_model(
        camel(name),
        __base__=Scores,
        __doc__=description,
        __cls_kwargs__={"derivation": Derivation(judged_by(name), is_optional=True)},
        **fields,
    )
    return item


def listed(criteria: Mapping[str, str]) -> str:
    """The criteria as the instructions of a prompt have them."""
    return "\n".join(f"- {name}: {' '.join(meaning.split())}" for name, meaning in criteria.items())


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
