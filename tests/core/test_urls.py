"""Addresses: what a prefix matches, and that every spelling of an address has one normal form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.core import urls
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.urls import UrlPrefixes, check_prefix, normal_url, read_address

SITE, FOLDER = "https://example.org", "https://example.org/ann"


@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        (SITE, "https://example.org"),
        (SITE, "http://example.org/any/page?q=1#top"),
        (SITE, "HTTPS://EXAMPLE.ORG:443/"),
        (SITE, "http://example.org:80/"),
        (SITE, "https://user:password@example.org/"),
        (SITE, "https://example.org./page"),
        (SITE, "https://ex%61mple.org/page"),
        (SITE, "https://example。org/page"),
        (SITE, "<https://example.org/page>"),
        (SITE, "  https://example.org/page\n"),
        (SITE, "https:/example.org/page"),
        (SITE, "https:\\\\example.org\\page"),
        (SITE, "https://example.org\\@evil.com/"),
        (SITE, "//example.org/page"),
        (SITE, "example.org/page"),
        (SITE, "example.org:443"),
        (SITE, "\ufeffhttps://example.org/page"),
        ("http://192.168.0.1", "192.168.0.1/a"),
        ("http://EXAMPLE.org./", "https://example.org"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/a"),
        ("https://xn--bcher-kva.example", "https://BÜCHER.example/a"),
        ("http://[::1]", "http://[0:0:0:0:0:0:0:1]/a"),
        ("http://127.0.0.1", "http://2130706433/a"),
        (FOLDER, "https://example.org/ann"),
        (FOLDER, "https://example.org/ann/"),
        (FOLDER + "/", "https://example.org/ann"),
        (FOLDER, "https://example.org/ann/photos/1"),
        (FOLDER, "https://example.org/%61nn/photos"),
        (FOLDER, "https://example.org/bob/../ann/photos"),
        (FOLDER, "https://example.org/ann?page=2"),
        (FOLDER, "https://example.org/ann;session=1/photos"),
        ("https://example.org/é", "https://example.org/%C3%A9/1"),
        ("https://example.org/a%2fb", "https://example.org/a%2Fb/c"),
        ("https://example.org/t?id=1", "https://example.org/t?sid=x&id=1"),
    ],
)
def test_what_a_prefix_covers(prefix: str, address: str) -> None:
    assert UrlPrefixes([check_prefix(prefix)]).covers(address)
    assert UrlPrefixes([normal_url(prefix)]).covers(address), "a stone holds the normal form"


@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        (SITE, "https://example.organic.com/"),
        (SITE, "https://example.org.evil.com/"),
        (SITE, "https://example.org@evil.com/"),
        (SITE, "https://example.org%2eevil.com/"),
        (SITE, "https://evil.com/https://example.org/"),
        (SITE, "https://evil.com/?u=https://example.org"),
        (SITE, "https://evil.com#https://example.org"),
        (SITE, "https://www.example.org/"),
        (SITE, "https://notexample.org/"),
        (SITE, "https://example.org:8443/"),
        (SITE, "ftp://example.org/"),
        (SITE, "mailto:ann@example.org"),
        (SITE, "urn:example.org"),
        (SITE, "page-17"),
        (SITE, ""),
        ("https://www.example.org", "https://example.org/"),
        ("https://example.org:8443", "https://example.org/"),
        (FOLDER, "https://example.org/"),
        (FOLDER, "https://example.org/anna"),
        (FOLDER, "https://example.org/Ann"),
        (FOLDER, "https://example.org/ann/../bob"),
        (FOLDER, "https://example.org/ann%2Fphotos"),
        ("https://example.org/t?id=1", "https://example.org/t?id=17"),
        ("https://example.org/t?id=1", "https://example.org/t/u?id=1"),
        ("https://example.org/t?id=1", "https://example.org/t"),
    ],
)
def test_what_a_prefix_does_not_cover(prefix: str, address: str) -> None:
    assert not UrlPrefixes([check_prefix(prefix)]).covers(address)


@pytest.mark.parametrize("prefix", ["", "http", "https://", "example.org/ann", "/ann", "https:///ann", "urn:a:b"])
def test_a_prefix_names_a_host(prefix: str) -> None:
    with pytest.raises(ConfigError, match="expected scheme and host"):
        check_prefix(prefix)


@pytest.mark.parametrize(
    ("prefix", "remedy"),
    [
        ("example.org/ann", "did you mean https://example.org/ann"),
        ("https://example.org@evil.com/", "Without it: https://evil.com/"),
        ("https://example.org/#/user/17", "fragments are not compared"),
        ("https://*.example.org/", "no wildcards"),
        ("https://example.org/ann/*", "no wildcards"),
        ("https://example.org/\udcff", "expected scheme and host"),
    ],
)
def test_a_prefix_that_means_something_else_is_refused(prefix: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        check_prefix(prefix)


def test_hosts_of_the_same_site_are_near() -> None:
    prefixes = UrlPrefixes(["https://blog.example.org/"])
    hosts = [
        "example.org",
        "a.blog.example.org",
        "blog.example.org:81",
        "blog.example.org",
        "log.example.org",
        "org.uk",
    ]
    assert [host for host in hosts if prefixes.near_host(f"http://{host}/page")] == hosts[:3]


WRITTEN = st.one_of(
    st.text(),
    st.text().map("https://example.org/".__add__),
    st.text(alphabet="ab0/%.:@?#&;=<>[]\\2eé xn-*", max_size=30).map("http://".__add__),
)


@given(WRITTEN)
def test_any_text_has_one_form(text: str) -> None:
    form = normal_url(text)
    assert normal_url(form) == form
    address = read_address(text)
    assert address is None or read_address(str(address)) == address


HOSTS = ["a.b", "x-n.org", "a..b", "127.0.0.1", "0x7f.1", "a.1", "-.a", "xn--a.b", "xn--bcher-kva.de", "b.0x1"]


@given(
    st.sampled_from(HOSTS),
    st.lists(st.text(alphabet="abZ09_~.-", max_size=4), max_size=4),
    st.lists(st.text(alphabet="ab=.%", max_size=4), max_size=3),
)
def test_the_short_ways_give_the_same(host: str, segments: list[str], parameters: list[str]) -> None:
    address = f"http://{host}/{'/'.join(segments)}" + ("?" + "&".join(parameters) if parameters else "")
    read = read_address(address)
    if urls._NORMAL.fullmatch(address):
        assert normal_url(address) == str(read)
    for prefix in ("http://a.b", "http://127.0.0.1", "https://bücher.de", "http://xn--a.b"):
        expected = read is not None and read.host == read_address(prefix).host  # type: ignore[union-attr]
        assert UrlPrefixes([prefix]).covers(address) == expected
