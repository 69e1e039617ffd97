"""The quality gates on labelled cases, the table of docs/quality.md, and laws of masking."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quality_gates import GATES, PAGE, filled, pii_cases, scores

from personahub_assets.quality.items import item_echo
from personahub_assets.quality.languages import language_of, other_language
from personahub_assets.quality.pii import find_pii, mask_pii, placeholder
from personahub_assets.quality.spans import KINDS

PARTS = sorted({case.text[start:end] for case in pii_cases() for _, start, end in case.labels})
TEXTS = st.lists(
    st.sampled_from([*PARTS, " ", ", ", "1", "-", "@", ".", "tel ", "(", "+", "a", "IBAN "]), max_size=8
).map("".join)


@pytest.mark.parametrize("name", GATES)
def test_each_kind_reaches_its_bar(name: str):
    gate = GATES[name]
    least_recall = 0.9 if name == "language" else 0.95
    for kind, score in scores(gate.cases(), gate.judge, gate.kinds).items():
        assert score.cases >= 15, kind
        assert score.precision >= 0.95, kind
        assert score.recall >= least_recall, kind


def test_there_are_enough_cases():
    assert len(pii_cases()) >= 200
    assert len(GATES["personas"].cases()) >= 100


def test_the_page_has_the_computed_tables():
    page = PAGE.read_text("utf-8")
    assert filled(page) == page, "run: python scripts/quality_gates.py"


@given(TEXTS)
def test_spans_are_in_order_and_apart(text: str):
    spans = find_pii(text)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(first.end <= second.start for first, second in pairwise(spans))
    for kind in KINDS:
        assert find_pii(text, {kind}) == [span for span in spans if span.kind == kind]


@given(TEXTS, st.sets(st.sampled_from(KINDS)))
def test_a_masked_text_has_no_personal_data_of_these_kinds(text: str, kinds: set):
    masked = mask_pii(text, kinds)
    assert find_pii(masked, kinds) == []
    assert mask_pii(masked, kinds) == masked


def test_masking_names_the_kind_and_keeps_the_rest():
    assert (
        mask_pii("Write to ann@example.org, or call +44 20 7946 0958!", KINDS) == "Write to [EMAIL], or call [PHONE]!"
    )
    assert mask_pii("Write to ann@example.org.", {"phone"}) == "Write to ann@example.org."
    assert placeholder("tax_id") == "[TAX_ID]"


def test_an_item_that_repeats_its_persona_is_an_echo():
    persona = "A retired lighthouse keeper on the coast of Brittany who repairs old radios at night."
    assert item_echo(persona, persona)
    assert not item_echo(f"{persona} How many radios does he repair in 12 nights if each takes 3 hours?", persona)


def test_a_quotation_and_a_name_have_no_language_of_their_own():
    assert (
        other_language('Translate "Der Zug fährt um neun Uhr ab, und zwar pünktlich" for a traveller in Lyon.', "en")
        is None
    )
    assert language_of("Oksana Brell") is None
