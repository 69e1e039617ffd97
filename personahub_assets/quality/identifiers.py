"""Find numbers with a check digit: payment cards, IBAN, tax numbers and numbers of persons.

A text is scanned once for groups of digits and capitals. The shape of one group, or of several in a row, such as
`999-99-9999`, selects the rules that can apply, so a text full of other numbers costs little. Most checks of a number
are those of python-stdnum. A number without a form of its own also needs a word beside it, such as "PESEL".
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from personahub_assets.quality.spans import LETTER, NOT_IN_WORD, Kind, Span

# Digits and capitals in groups. The scan begins at a digit, which is fast; capitals before it are added afterwards.
_CLUSTER = re.compile(r"\d[\dA-Z]{0,33}(?:[ ./-][\dA-Z]{1,34}){0,200}")
_CAPITALS = re.compile(rf"{NOT_IN_WORD}[A-Z]{{1,6}}[ .-]?\Z")
_ENOUGH = re.compile(r"\d(?:[\dA-Z ./-]{0,2}\d){3}")
_INSIDE_BEFORE, _INSIDE_BEHIND = re.compile(rf"(?:{LETTER}|[.,$€£¥])\Z"), re.compile(rf"{LETTER}|%|[,.]\d")
# IBAN in small letters, or in groups of four between hyphens; those in capitals with blanks are clusters.
_OTHER_IBAN = re.compile(
    r"(?<!\w)(?:[a-z]{2}\d\d(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,4})?|[A-Z]{2}\d\d(?:-[A-Z0-9]{4}){2,7}(?:-[A-Z0-9]{1,4})?)(?!\w)"
)
_GROUP = re.compile(r"[^ ]+")
_SHAPE = str.maketrans("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", "9" * 10 + "A" * 26)
_LEAST_DIGITS, _LEAST_LENGTH = 4, 8
_LONGEST = 44
_BEFORE, _AFTER = 48, 18
# Numbers of things. The word stands right before the number, apart from "no.", "number" and the like.
NUMBERED_THING = re.compile(
    r"\b(?:order|invoice|ticket|case|ref|reference|serial|sku|part|model|item|product|batch|lot|tracking|isbn|issn|doi|"
    r"patent|barcode|upc|ean|gtin|version|build|imei|catalog|catalogue|shipment|parcel|booking|room|bestellung|"
    r"rechnung|artikel|commande|pedido|factura)(?:nummer|nr)?"
    r"(?:[\s.:#=-]|\b(?:no|nr|num|number|numbers|id|code|is|was|like|as)\b){0,9}\Z",
    re.IGNORECASE,
)
_COMPUTED_BEFORE = re.compile(
    r"(?:(?<![A-Za-z_]{2})=|[+*/^×÷−√<>(])\s?\Z|\b(?:of|divide|multiply|factor|factorise|factorize|number|integer|n)\s\Z",
    re.IGNORECASE,
)
_COMPUTED_AFTER = re.compile(
    r"\s?[=+*/^×÷−<>%!]|\s(?:prime|even|odd|a (?:prime|multiple|square)|mod|modulo|divided|multiplied|times|minus|plus|(?:is|are|was) (?:divi|multipl|prime|even|odd|a (?:prime|multiple|square))|"
    r"when divided|in (?:binary|base|hexadecimal)|(?:bytes|atoms|particles|molecules|grains|steps|times|units|people|k?m|cm|mm|"
    r"k?g|mg|s|ms|miles|met(?:er|re)s|years|days|hours|minutes|seconds|dollars|euros|Hz|[kM]?B|bits|rows|stars|cells)\b)",
    re.IGNORECASE,
)


class Rule(NamedTuple):
    """One kind of number.

    Attributes:
        module: of stdnum, or the name of a check in this module; empty if there is no check.
        words: pattern of the words of which one has to stand near; empty if the form is enough.
    """

    kind: Kind
    module: str
    words: str = ""


_TAX = r"tax|steuer|tin\b|tax[- ]?id|fiscal|taxpayer"
_NATIONAL = r"national (?:id|identity|identification|insurance|number)|identity (?:number|card)|id (?:number|no|card)|personal (?:number|code|id)"
_RULES: tuple[tuple[Rule, str], ...] = (
    # Persons
    (Rule("id_number", "us.ssn"), "999-99-9999"),
    (Rule("id_number", "us.ssn", r"ssn|social security|itin"), "999 99 9999|999999999"),
    # Also the numbers that were never given out, of forms and films.
    (Rule("id_number", "", r"\bssn\b|social security"), "999-99-9999"),
    (Rule("tax_id", "us.itin"), "999-99-9999"),
    (Rule("id_number", "", r"passport|reisepass|passeport|pasaporte|паспорт|护照"), "A9999999|A99999999|AA999999|AA9999999|999999999|99AA99999"),
    (Rule("id_number", "_nino"), "AA999999A|AA 99 99 99 A|AA 999999 A"),
    (Rule("id_number", "gb.nhs", r"nhs|patient|health"), "999 999 9999|9999999999|999-999-9999"),
    (Rule("id_number", "es.dni"), "99999999A|99999999-A|99999999 A|99.999.999-A"),
    (Rule("id_number", "es.nie"), "A9999999A|A-9999999-A|A9999999-A"),
    (Rule("id_number", "fr.nir"), "9 99 99 99 999 999 99|9 99 99 99 999 999|9 99 99 9A 999 999 99"),
    (Rule("id_number", "fr.nir", r"sécurité sociale|securite sociale|\bnir\b|insee|vitale|social security"), "999999999999999"),
    (Rule("id_number", "nl.bsn", r"\bbsn\b|burgerservice|sofi|citizen service"), "999999999|9999.99.999|9999 99 999"),
    (Rule("id_number", "be.nn"), "99.99.99-999.99"),
    (Rule("id_number", "be.nn", rf"rijksregister|registre national|{_NATIONAL}"), "99999999999"),
    (Rule("id_number", "pl.pesel", r"pesel"), "99999999999"),
    (Rule("id_number", "se.personnummer"), "999999-9999|99999999-9999"),
    (Rule("id_number", "se.personnummer", rf"personnummer|{_NATIONAL}"), "9999999999|999999999999"),
    (Rule("id_number", "fi.hetu"), "999999-999A|999999A999A|999999A9999"),
    (Rule("id_number", "fi.hetu", r"hetu|henkilötunnus|finnish"), "999999-9999"),
    (Rule("id_number", "dk.cpr", r"\bcpr\b|personnummer|danish"), "999999-9999|9999999999"),
    (Rule("id_number", "no.fodselsnummer", rf"fødselsnummer|fodselsnummer|personnummer|{_NATIONAL}"), "99999999999|999999 99999"),
    (Rule("id_number", "in_.aadhaar", r"aadh?aar|uidai|आधार"), "9999 9999 9999|999999999999|9999-9999-9999"),
    (Rule("id_number", "cn.ric"), "999999999999999999|99999999999999999A"),
    (Rule("id_number", "kr.rrn"), "999999-9999999"),
    (Rule("id_number", "jp.in_", r"my ?number|マイナンバー|個人番号|individual number"), "999999999999|9999 9999 9999|9999-9999-9999"),
    (Rule("id_number", "za.idnr", rf"south africa|{_NATIONAL}|identity"), "9999999999999|999999 9999 999"),
    (Rule("id_number", "ro.cnp", r"\bcnp\b|cod numeric"), "9999999999999"),
    (Rule("id_number", "cz.rc"), "999999/9999"),
    (Rule("id_number", "bg.egn", r"\begn\b|егн"), "9999999999"),
    (Rule("id_number", "si.emso", r"em[sš]o|jmbg"), "9999999999999"),
    (Rule("id_number", "ee.ik", rf"isikukood|{_NATIONAL}"), "99999999999"),
    (Rule("id_number", "lt.asmens", rf"asmens|{_NATIONAL}"), "99999999999"),
    (Rule("id_number", "ie.pps", r"\bpps"), "9999999A|9999999AA"),
    (Rule("id_number", "ch.ssn"), "999.9999.9999.99"),
    (Rule("id_number", "ch.ssn", r"ahv|avs|social"), "9999999999999"),
    (Rule("id_number", "my.nric"), "999999-99-9999"),
    (Rule("id_number", "pk.cnic"), "99999-9999999-9"),
    (Rule("id_number", "th.pin"), "9-9999-99999-99-9"),
    (Rule("id_number", "th.pin", rf"thai|บัตรประชาชน|{_NATIONAL}"), "9999999999999"),
    (Rule("id_number", "id.nik", r"\bnik\b|\bktp\b"), "9999999999999999"),
    (Rule("id_number", "gr.amka", r"amka|αμκα"), "99999999999"),
    (Rule("id_number", "tr.tckimlik", r"kimlik|\btckn\b|turkish"), "99999999999"),
    (Rule("id_number", "il.idnr", r"teudat|israeli|תעודת"), "999999999|99999999-9"),
    (Rule("id_number", "ca.sin", r"\bsin\b|social insurance"), "999-999-999|999 999 999|999999999"),
    (Rule("id_number", "cl.rut"), "99.999.999-9|99.999.999-A|9.999.999-9|9.999.999-A"),
    (Rule("id_number", "cl.rut", r"\brut\b"), "99999999-9|99999999-A|9999999-9"),
    (Rule("id_number", "mx.curp"), "AAAA999999AAAAAA99|AAAA999999AAAAAAA9"),
    (Rule("id_number", "do.cedula"), "999-9999999-9"),
    (Rule("id_number", "ec.ci", r"c[eé]dula"), "9999999999|999999999-9"),
    (Rule("id_number", "is_.kennitala", r"kennitala"), "999999-9999|9999999999"),
    # Tax
    (Rule("tax_id", "us.ein", rf"\bein\b|employer identification|federal|{_TAX}"), "99-9999999"),
    (Rule("tax_id", "de.idnr", rf"idnr|{_TAX}"), "99999999999|99 999 999 999"),
    (Rule("tax_id", "de.stnr", r"steuernummer|steuer-?nr|st\.?-?nr"), "999/999/99999|99/999/99999|999/9999/9999|9999999999999"),
    (Rule("tax_id", "co.nit", r"\bnit\b"), "999.999.999-9|999999999-9"),
    (Rule("tax_id", "pe.ruc", r"\bruc\b"), "99999999999"),
    (Rule("tax_id", "gr.vat", r"αφμ|\bafm\b"), "999999999"),
    (Rule("tax_id", "eu.vat"), "AA99999999|AA999999999|AA9999999999|AA99999999999|AA999999999999|AAA99999999|AAA9999999A|"
     "AA999999999A99|AA99999999A|AA9999999A|AA9999999AA|AA 99999999|AA 999999999|AA 9999999999|AA 99999999999|AA 999 999 999|AA 99 999999999|"
     "AA 99 999 999 999|AA 9999.999.999|AAA 99999999|AA9999999999A99|AA9A99999A|AAA9999999999|AA999 999 999|AA99 999999999"),
    (Rule("tax_id", "gb.vat"), "AA999999999|AA 999 9999 99|AA 999999999|AA999 9999 99"),
    (Rule("tax_id", "it.codicefiscale"), "AAAAAA99A99A999A"),
    (Rule("tax_id", "it.iva", rf"iva\b|{_TAX}"), "99999999999"),
    (Rule("tax_id", "es.cif", r"\bcif\b|\bnif\b"), "A99999999|A-99999999|A9999999A"),
    (Rule("tax_id", "fr.siren", r"siren"), "999 999 999|999999999"),
    (Rule("tax_id", "fr.siret", r"siret"), "999 999 999 99999|99999999999999"),
    (Rule("tax_id", "br.cpf"), "999.999.999-99"),
    (Rule("tax_id", "br.cpf", r"\bcpf\b"), "99999999999|999999999-99"),
    (Rule("tax_id", "br.cnpj"), "99.999.999/9999-99"),
    (Rule("tax_id", "br.cnpj", r"\bcnpj\b"), "99999999999999"),
    (Rule("tax_id", "in_.pan"), "AAAAA9999A"),
    (Rule("tax_id", "in_.gstin"), "99AAAAA9999A9A9|99AAAAA9999A9AA"),
    (Rule("tax_id", "pl.nip"), "999-999-99-99|999-99-99-999"),
    (Rule("tax_id", "pl.nip", r"\bnip\b"), "9999999999"),
    (Rule("tax_id", "au.tfn", r"\btfn\b|tax file"), "999 999 999|999999999"),
    (Rule("tax_id", "au.abn", r"\babn\b|business number"), "99 999 999 999|99999999999"),
    (Rule("tax_id", "gb.utr", r"\butr\b|taxpayer"), "9999999999|99999 99999"),
    (Rule("tax_id", "pt.nif", rf"\bnif\b|contribuinte|{_TAX}"), "999999999|999 999 999"),
    (Rule("tax_id", "ch.uid"), "AAA-999.999.999|AAA999999999"),
    (Rule("tax_id", "ar.cuit"), "99-99999999-9"),
    (Rule("tax_id", "mx.rfc", r"\brfc\b"), "AAA999999AAA|AAA999999AA9|AAA999999A99|AAA999999999|AAA9999999A9|AAA99999999A|"
     "AAAA999999AAA|AAAA999999AA9|AAAA999999A99|AAAA999999999|AAAA9999999A9|AAAA99999999A|AAAA999999A9A|AAAA9999999AA"),
    (Rule("tax_id", "ru.inn", r"\binn\b|инн"), "9999999999|999999999999"),
    (Rule("tax_id", "nz.ird", r"\bird\b"), "99-999-999|999-999-999"),
    (Rule("tax_id", "hr.oib", r"\boib\b"), "99999999999"),
    (Rule("tax_id", "at.tin", rf"{_TAX}"), "99-999/9999|999999999"),
    # Accounts
    (Rule("card", "_card"), "9999999999999|99999999999999|999999999999999|9999999999999999|99999999999999999|999999999999999999|"
     "9999999999999999999|9999 9999 9999 9999|9999-9999-9999-9999|9999.9999.9999.9999|9999 999999 99999|9999-999999-99999|"
     "9999 999999 9999|9999-999999-9999|9999 9999 9999 9999 999"),
)  # fmt: skip


@cache
def _by_shape() -> dict[str, list[Rule]]:
    rules: dict[str, list[Rule]] = {}
    for rule, shapes in _RULES:
        for shape in shapes.split("|"):
            rules.setdefault(shape, []).append(rule)
    return rules


@cache
def _beginnings() -> frozenset[str]:
    """The first groups of all shapes of several groups."""
    shapes = [shape.split(" ") for shape in _by_shape()]
    return frozenset(" ".join(groups[:count]) for groups in shapes for count in range(1, len(groups)))


def identifiers(text: str) -> Iterator[Span]:
    """Payment cards, IBAN, tax numbers and numbers of persons."""
    if not _ENOUGH.search(text):
        return
    for cluster in _CLUSTER.finditer(text):
        start, end = cluster.span()
        if capitals := _CAPITALS.search(text, max(0, start - 8), start):
            start = capitals.start()
        number = text[start:end]
        if len(number) >= _LEAST_LENGTH and sum(map(str.isdigit, number)) >= _LEAST_DIGITS:
            yield from _in_cluster(text, start, end)
    for match in _OTHER_IBAN.finditer(text):
        end = _end_of_iban(match[0])
        if end:
            yield Span("iban", match.start(), match.start() + end)


def _end_of_iban(text: str) -> int:
    """The end of the longest account number that a text begins with, of whole groups; 0 if there is none."""
    end = len(text)
    while end > 0 and not _is_iban(text[:end].replace("-", " ").upper()):
        end = max(text.rfind(" ", 0, end), text.rfind("-", 0, end))
    return max(end, 0)


def _in_cluster(text: str, start: int, end: int) -> Iterator[Span]:
    """The longest numbers of a cluster from the left, made of whole groups between blanks."""
    groups = [(start + match.start(), start + match.end()) for match in _GROUP.finditer(text[start:end])]
    if _INSIDE_BEFORE.search(text, max(0, start - 1), start):
        groups = groups[1:]
    if _INSIDE_BEHIND.match(text, end):
        groups = groups[:-1]
    shape = text[start:end].translate(_SHAPE)
    shapes = [shape[begin - start : stop - start] for begin, stop in groups]
    first = 0
    while first < len(groups):
        last = _last_group(text, groups, shapes, first)
        if last is None:
            first += 1
        else:
            span = _identify(text, groups[first][0], groups[last][1])
            assert span is not None
            yield span
            first = last + 1


def _last_group(text: str, groups: list[tuple[int, int]], shapes: list[str], first: int) -> int | None:
    """The last group of the longest number that begins with a group; None if there is none."""
    start, shape, longest = groups[first][0], "", None
    is_account = shapes[first].startswith("AA99")
    for at in range(first, len(groups)):
        end = groups[at][1]
        if end - start > _LONGEST:
            break
        shape = f"{shape} {shapes[at]}" if shape else shapes[at]
        if end - start >= _LEAST_LENGTH and (is_account or shape in _by_shape()) and _identify(text, start, end):
            longest = at
        if not is_account and shape not in _beginnings():
            break
    return longest


def _identify(text: str, start: int, end: int) -> Span | None:
    number = text[start:end]
    shape = number.translate(_SHAPE)
    for rule in _by_shape().get(shape, ()):
        if _applies(rule, text, start, end):
            return Span(rule.kind, start, end)
    return Span("iban", start, end) if shape.startswith("AA99") and _is_iban(number) else None


def _applies(rule: Rule, text: str, start: int, end: int) -> bool:
    if rule.words:
        near = text[max(0, start - _BEFORE) : start] + " " + text[end : end + _AFTER]
        if not _words(rule.words).search(near):
            return False
    elif NUMBERED_THING.search(text[max(0, start - _BEFORE) : start]):
        return False
    if not rule.module:
        return True
    if rule.module == "_card":
        return _is_card(text, start, end)
    if rule.module == "_nino":
        return _is_nino(text[start:end].replace(" ", ""))
    return bool(_stdnum(rule.module).is_valid(text[start:end]))


@cache
def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


@cache
def _stdnum(name: str) -> Any:
    return import_module(f"stdnum.{name}")


# Prefixes of issuers, with the lengths of their numbers.
_ISSUERS = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"6011|64[4-9]|65"), (16, 19)),
    (re.compile(r"30[0-5]|309|36|3[89]"), (14, 16)),
    (re.compile(r"35(?:2[89]|[3-8])"), (16,)),
    (re.compile(r"62|81"), (16, 17, 18, 19)),
    (re.compile(r"5018|5020|5038|5893|6304|6759|676[1-3]"), (13, 16, 19)),
)


def _is_card(text: str, start: int, end: int) -> bool:
    digits = re.sub(r"\D", "", text[start:end])
    if not any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _ISSUERS):
        return False
    if not _stdnum("luhn").is_valid(digits) or len(set(digits)) < 2:
        return False
    is_plain = text[start:end].isdigit()
    before, after = text[max(0, start - _BEFORE) : start], text[end : end + _BEFORE]
    return not (is_plain and (_COMPUTED_BEFORE.search(before) or _COMPUTED_AFTER.match(after)))


_NINO = re.compile(r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]")


def _is_nino(number: str) -> bool:
    """Whether a number has the form of a British National Insurance number, which has no check digit."""
    return _NINO.fullmatch(number) is not None


def _is_iban(number: str) -> bool:
    compact = number.replace(" ", "")
    if not 15 <= len(compact) <= 34 or not compact.isalnum():
        return False
    groups = number.split(" ")
    is_grouped = len(groups) == 1 or all(len(group) <= 4 for group in groups[1:]) or len(groups) <= 3
    return is_grouped and bool(_stdnum("iban").is_valid(compact, check_country=False))
