"""Specification of a release: its name, its configs, the conditions on their rows, its licence."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from personahub_assets.core.addresses import public
from personahub_assets.core.errors import ArgumentError, ConfigError, choices
from personahub_assets.core.records import DATASETS
from personahub_assets.releases.formats import FORMATS, fitting, unfitting
from personahub_assets.releases.relations import Relation, plain

PERSONAS = "personas"
TRAIN, VALIDATION = "train", "validation"

LEFT_OUT = {
    "persona_left_the_hub": "whose persona is no longer in the hub",
    "contaminated": "that match a test set",
    "condition_not_met": "that do not meet the condition",
    "persona_not_released": "whose persona is not released",
    "near_duplicate": "that nearly repeat a kept item of their dataset",
    "not_in_format": "that the format cannot hold",
}
"""Reasons why a row is not in a release, with their texts."""

# The name becomes a folder's name. Dots are allowed inside, for versions.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9_-])?")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
# `tools: length(text) > 100`, but not the cast in `hop::INTEGER = 1`.
_FOR_ONE = re.compile(r"\A\s*([a-z_][a-z0-9_]*)\s*:(?!:)(.*)", re.DOTALL)


@dataclass(frozen=True)
class ReleaseSpec:
    """A checked specification of a release.

    Attributes:
        relations: the datasets and views among the configs.
        form: name of the format of the rows; None for the columns of the tables.
    """

    name: str
    configs: tuple[str, ...]
    where: dict[str, tuple[str, ...]] = field(default_factory=dict)
    jsonl: bool = False
    license: str | None = None
    validation: float = 0.0
    form: str | None = None
    relations: dict[str, Relation] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        select: Iterable[str] = (),
        where: Iterable[str] = (),
        *,
        jsonl: bool = False,
        license: str | None = None,  # noqa: A002 - as the field of a dataset card is called
        validation: float = 0.0,
        format: str | None = None,  # noqa: A002 - as the option is called
        relations: Mapping[str, Relation] | None = None,
    ) -> "ReleaseSpec":
        """Check a specification.

        Args:
            name: the folder's name.
            select: configs; empty for the personas and all datasets, or for all that the format fits.
            where: SQL conditions, each for all configs, or for one that it names: `tools: length(text) > 100`.
            jsonl: also write JSONL with the paper's field names.
            license: an identifier as dataset cards have them, such as apache-2.0.
            validation: share of personas whose rows make a split `validation`; 0 makes none.
            format: format of the rows for training, one of `FORMATS`; None for the columns of the tables.
            relations: the datasets and views of the home; None for the datasets of the package.

        Raises:
            ConfigError: naming all faults at once.
        """
        every = plain(DATASETS) if relations is None else relations
        valid = [PERSONAS, *every]
        requested = tuple(select) or _default(every, format)
        faults = [f"unknown config {choices(config, valid)}" for config in requested if config not in valid]
        faults += _format_faults(format, [config for config in requested if config in valid], every)
        wrong_arguments = _name_faults(name) + _license_faults(license) + _validation_faults(validation)
        faults += wrong_arguments
        chosen = tuple(config for config in valid if config in requested)
        conditions: dict[str, tuple[str, ...]] = {}
        for text in where:
            targets, condition = _split_condition(text, chosen)
            faults += _where_faults(text, condition, targets, chosen)
            for config in targets:
                conditions[config] = (*conditions.get(config, ()), condition)
        if faults:
            raise (ArgumentError if wrong_arguments else ConfigError)("; ".join(faults))
        own = {config: every[config] for config in chosen if config != PERSONAS}
        return cls(name, chosen, conditions, jsonl, license, validation, format, own)


def _default(relations: Mapping[str, Relation], form: str | None) -> tuple[str, ...]:
    """The configs of a release without a selection."""
    if form in FORMATS:
        return tuple(each.name for each in fitting(FORMATS[form], relations.values()))
    return (PERSONAS, *(name for name, each in relations.items() if not each.is_view))


def _format_faults(form: str | None, requested: Iterable[str], relations: Mapping[str, Relation]) -> list[str]:
    if form is None:
        return []
    if form not in FORMATS:
        return [f"unknown format {choices(form, list(FORMATS))}"]
    faults = [unfitting(FORMATS[form], relations.get(config), config, relations) for config in requested]
    return [fault for fault in faults if fault]


def check_name(name: str) -> str:
    """Return the name if it is valid for a release.

    Raises:
        ConfigError: if it is not valid.
    """
    faults = _name_faults(name)
    if faults:
        raise ArgumentError(faults[0])
    return name


def left_out_text(counts: Mapping[str, int]) -> str:
    """Describe the rows that are left out.

    >>> left_out_text({"persona_left_the_hub": 3, "condition_not_met": 0})
    '3 rows whose persona is no longer in the hub are left out'
    >>> left_out_text({})
    'there are no rows'
    """
    counted = [f"{count:,} rows {LEFT_OUT[reason]}" for reason, count in counts.items() if count]
    return f"{', '.join(counted)} are left out" if counted else "there are no rows"


def public_address(source: str | None) -> str:
    """The public form of a source: an address without its secrets, or a file's name without its folders.

    >>> public_address("https://user:pass@example.org/a.csv?token=1"), public_address("/home/ann/crawl.jsonl")
    ('https://example.org/a.csv', 'crawl.jsonl')
    """
    if source is None:
        return "unknown"
    if "://" not in source:
        return re.split(r"[/\\]", source)[-1]
    return public(source)


def _split_condition(text: str, chosen: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Split a condition into its configs and the SQL."""
    named = _FOR_ONE.fullmatch(text)
    return ((named[1],), named[2].strip()) if named else (chosen, text.strip())


def _name_faults(name: str) -> list[str]:
    if _NAME.fullmatch(name):
        return []
    rule = "use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit and not ending with a dot"
    return [f"release name {name!r} is not allowed: {rule}"]


def _license_faults(license: str | None) -> list[str]:  # noqa: A002 - as above
    if license is None or _LICENSE.fullmatch(license):
        return []
    return [f"licence {license!r} is not an identifier such as apache-2.0, cc-by-4.0 or other"]


def _validation_faults(share: float) -> list[str]:
    if 0 <= share < 1:
        return []
    return [f"validation {share:g} is not a share: give a number from 0 to below 1, such as 0.05"]


def _where_faults(text: str, condition: str, targets: tuple[str, ...], chosen: tuple[str, ...]) -> list[str]:
    if not condition:
        return [f"--where {text!r} has no condition"]
    unknown = [config for config in targets if config not in chosen]
    return [f"--where {text!r}: no selected config {choices(config, list(chosen))}" for config in unknown]
