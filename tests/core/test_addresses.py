"""Printed addresses contain no secret, and still identify the file."""

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.core.addresses import (
    authorization,
    base_url,
    below,
    public,
    redact,
    request_headers,
    secrets_of,
)
from personahub_assets.core.errors import ConfigError

CANARY = "cAnArY"
AWS = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260101&X-Amz-Date=1&X-Amz-Signature="


@pytest.mark.parametrize(
    "address",
    [
        "/home/ann/a b?.jsonl",
        "https://example.org/a.jsonl",
        "http://[::1]:8000/v1",
        "hf://datasets/ann/hub@main/data/a.jsonl",
        "s3://bucket/folder/a@b.jsonl",
        "https://example.org/get?download=true&api-version=2024-02-01",
        "zip://a.csv::https://example.org/a.zip",
    ],
)
def test_an_address_without_secrets_is_shown_as_it_is(address: str) -> None:
    assert public(address) == address
    assert not secrets_of(address)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"https://ann:{CANARY}@example.org:8443/v1#{CANARY}", "https://example.org:8443/v1"),
        (f"https://{CANARY}@example.org/v1", "https://example.org/v1"),
        (f"https://a%40b:{CANARY}%2F@example.org", "https://example.org"),
        (f"https://a@b:{CANARY}@example.org/x", "https://example.org/x"),
        (f"https://s3.example.org/a.jsonl?{AWS}{CANARY}", "https://s3.example.org/a.jsonl"),
        (f"https://x.blob.example/a.csv?sv=2024&sp=r&se=2026&sig={CANARY}", "https://x.blob.example/a.csv"),
        (f"https://example.org/a.csv?api_key={CANARY}&format=csv", "https://example.org/a.csv?format=csv"),
        (f"simplecache::https://u:{CANARY}@example.org/a.csv", "simplecache::https://example.org/a.csv"),
        (f"zip://a.csv::https://u:{CANARY}@example.org/a.zip", "zip://a.csv::https://example.org/a.zip"),
        (f"https://ann:a/{CANARY}@example.org/v1", "https://…"),
        (f"https://ann:a#{CANARY}@example.org/v1", "https://…"),
        (f"https://ann:a?{CANARY}@example.org/v1", "https://…"),
        (f"https:///ann:{CANARY}@example.org/v1", "https:///…"),
        (f"https:/ann:{CANARY}@example.org/v1", "https:/…"),
        (f"https:ann:{CANARY}@example.org/v1", "https:…"),
        (f"//ann:{CANARY}@example.org/v1", "//…"),
    ],
)
def test_secrets_are_not_shown(address: str, shown: str) -> None:
    assert public(address) == shown
    assert CANARY not in redact(f"ClientError(url='{address}', headers={{'x': '{address}'}})", *secrets_of(address))


USUAL = ["k", "key", "id", "doc", "file", "format", "download", "sig", "x-amz-signature", "raw", "a_b", "é"]
NAMES = st.sampled_from(USUAL) | st.text(max_size=8)
VALUES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@settings(max_examples=15)
@given(
    st.sampled_from(["https", "s3", "simplecache::https"]),
    st.none() | st.tuples(VALUES, VALUES),
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    VALUES,
)
def test_no_value_of_any_name_is_readable(
    scheme: str, user: tuple[str, str] | None, pairs: list[tuple[str, str]], fragment: str
) -> None:
    def secret(value: str) -> str:
        return quote(CANARY + value, safe="")

    who = f"{secret(user[0])}:{secret(user[1])}@" if user else ""
    query = "&".join(f"{quote(name, safe='')}={secret(value)} !" for name, value in pairs)
    address = f"{scheme}://{who}example.org/a.jsonl?{query}#{secret(fragment)}"

    shown = public(address)

    assert CANARY not in shown
    assert public(shown) == shown
    assert CANARY not in redact(f"cannot open {address}: 403", *secrets_of(address))


@given(st.text(max_size=40))
def test_whatever_is_given_is_shown_twice_the_same(address: str) -> None:
    assert public(public(address)) == public(address)
    redact(address, *secrets_of(address))


def test_files_that_differ_are_told_apart_and_signatures_are_not() -> None:
    base = "https://example.org/get?"
    assert public(f"{base}doc=1") != public(f"{base}doc=2")
    assert public(f"{base}SECRET") != public(f"{base}OTHER")
    assert public(f"{base}doc=1&{AWS}aaaa") == public(f"{base}doc=1&{AWS}bbbb")
    assert public("https://example.org/get#a") == public("https://example.org/get#b")
    assert public("s3://bucket/get#a") != public("s3://bucket/get#b")


def test_a_secret_is_taken_out_of_a_text_however_it_is_written() -> None:
    address = "https://ann:s3cr%2Fet@example.org/a?sig=AbC%2FdEf%3D"
    text = "s3cr/et s3cr%2Fet AbC/dEf= AbC%2FdEf%3D YW5uOnMzY3IvZXQ= sk-12345 https://cdn.example/x?Signature=zzzzz"

    assert redact(text, "sk-12345", *secrets_of(address)) == "*** *** *** *** *** *** https://cdn.example/x"
    echo = r'{"a": "p\"w\\d\u00e9", "b": "p&quot;w\dé", "c": "sk-12345"}'
    assert redact(echo, 'p"w\\dé', "sk-12345\n") == '{"a": "***", "b": "***", "c": "***"}'


def test_credentials_go_as_basic_a_key_as_bearer_and_never_both() -> None:
    address = " https://ann:p%40ss@example.org:8000/v1/?deployment=a "

    assert authorization(address, "", "PERSONAHUB_LLM_URL") == {"Authorization": "Basic YW5uOnBAc3M="}
    assert authorization("https://example.org", "k", "PERSONAHUB_LLM_URL") == {"Authorization": "Bearer k"}
    assert authorization("https://example.org", "", "PERSONAHUB_LLM_URL") == {}
    assert base_url(address, "X") == "https://example.org:8000/v1?deployment=a"
    assert below(base_url(address, "X"), "/models") == "https://example.org:8000/v1/models?deployment=a"
    with pytest.raises(ConfigError, match=r"PERSONAHUB_LLM_URL has a user name, and PERSONAHUB_LLM_API_KEY is set"):
        authorization(address, "k", "PERSONAHUB_LLM_URL")


@pytest.mark.parametrize(
    ("address", "chat"),
    [
        ("https://a.example/v1", "https://a.example/v1/chat/completions"),
        ("https://a.example/v1/", "https://a.example/v1/chat/completions"),
        ("https://a.example", "https://a.example/chat/completions"),
        (
            "https://r.openai.azure.com/openai/deployments/x?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/x/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://r.openai.azure.com/openai/deployments/x/chat/completions?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/x/chat/completions?api-version=2024-10-21",
        ),
        ("https://a.example/v1/chat/completions/", "https://a.example/v1/chat/completions"),
        ("https://a.example/v1/?key=a%2Fb&x", "https://a.example/v1/chat/completions?key=a%2Fb&x"),
        ("https://a.example/v1#frag", "https://a.example/v1/chat/completions"),
        ("https://a.example/chat/completions-proxy", "https://a.example/chat/completions-proxy/chat/completions"),
    ],
)
def test_a_path_stands_before_the_query(address: str, chat: str) -> None:
    assert below(base_url(address, "X"), "/chat/completions") == chat


URL = "PERSONAHUB_LLM_URL"


def headers(settings: dict[str, str], key: str = "", **variables: str) -> dict[str, str]:
    return request_headers("https://a.example/v1", key, URL, settings, variables)


def test_headers_take_values_of_variables() -> None:
    assert headers({}, key="k") == {"Authorization": "Bearer k"}
    assert headers({"X-Team": "a-${TEAM}-${N}"}, TEAM=" red\n", N="1") == {"X-Team": "a-red-1"}
    assert headers({"X-Title": "Hub"}, key="k") == {"Authorization": "Bearer k", "X-Title": "Hub"}
    assert headers({"X-Price": "$5 {N}"}) == {"X-Price": "$5 {N}"}


def test_a_key_is_sent_once() -> None:
    azure = {"api-key": "${PERSONAHUB_LLM_API_KEY}"}
    assert headers(azure, key="k\n") == {"api-key": "k"}
    assert headers({"authorization": "Token ${PERSONAHUB_LLM_API_KEY}"}, key="k") == {"authorization": "Token k"}
    assert headers({"authorization": "Token ${T}"}, T="t") == {"authorization": "Token t"}
    with pytest.raises(ConfigError, match="sets Authorization, and so does"):
        headers({"authorization": "Token t"}, key=CANARY)
    # A key that another variable holds is not the one of this address.
    with pytest.raises(ConfigError, match=r"header api-key of hub\.toml takes the variable PERSONAHUB_LLM_API_KEY"):
        headers(azure, PERSONAHUB_LLM_API_KEY="k")


@pytest.mark.parametrize("variables", [{}, {"TEAM": ""}, {"TEAM": " \n"}])
def test_a_variable_that_is_not_set_is_named(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"header X-Team of hub\.toml takes the variable TEAM, which is not set"):
        headers({"X-Team": "a ${TEAM}"}, **variables)


@pytest.mark.parametrize("value", [f"{CANARY}\r\nHost: x", f"{CANARY}é", f"{CANARY}\0"])
def test_a_value_that_is_no_headers_is_refused_and_not_quoted(value: str) -> None:
    for wanted, variables in (({"X-A": value}, {}), ({"X-A": "${A}"}, {"A": value})):
        with pytest.raises(ConfigError, match=r"header X-A of hub\.toml holds a line break") as caught:
            headers(wanted, **variables)
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        f"ann:{CANARY}@example.org/v1",
        f"https:/ann:{CANARY}@example.org/v1",
        f"https://ann:a/{CANARY}@example.org/v1",
        f"ftp://ann:{CANARY}@example.org",
        f"https://ann:{CANARY}@/v1",
        "https://",
        "https://example.org:99999/v1",
        "https://example.org:99999999999999999999/v1",
    ],
)
def test_what_is_no_address_is_refused_and_not_quoted(address: str) -> None:
    with pytest.raises(ConfigError, match="PERSONAHUB_LLM_URL is not an address of a server") as caught:
        base_url(address, "PERSONAHUB_LLM_URL")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("address", ["files:/data", "FILES:", "standin:1"])
def test_a_word_instead_of_an_address_is_written_alone(address: str) -> None:
    with pytest.raises(ConfigError, match=r"(files|standin): is written without anything else"):
        base_url(address, "PERSONAHUB_LLM_URL")


def test_a_key_is_one_line_and_not_quoted() -> None:
    """A file that holds a key often ends with a line break."""
    assert authorization("https://example.org", "k\n", "PERSONAHUB_LLM_URL") == {"Authorization": "Bearer k"}
    for key in (f"{CANARY}\r\nHost: x", f"{CANARY}\0", f"{CANARY}é", f"{CANARY}\udcff", f"{CANARY}\x7f"):
        with pytest.raises(ConfigError, match="PERSONAHUB_EMBED_API_KEY contains a line break") as caught:
            authorization("https://example.org", key, "PERSONAHUB_EMBED_URL")
        assert CANARY not in str(caught.value)
    assert authorization("https://a:\udcff@b", "", "X") == {"Authorization": "Basic YTr/"}
