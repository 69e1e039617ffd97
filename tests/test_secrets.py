"""Secrets of addresses and keys are used, but never stored or shown: not in the home, the UI, or the output."""

import asyncio
import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_graphql.schema import create_schema
from quoting_site import Site, basic

from personahub_assets.core.config import Environment
from personahub_assets.core.errors import LLMError
from personahub_assets.definitions import build
from personahub_assets.generation.llm import LLM
from personahub_assets.instance.instance import open_instance
from personahub_assets.standin.server import StandinServer

from .conftest import Called

CANARY = "cAnArY"
USER, PASSWORD, SIGNATURE, KEY = (f"{CANARY}-{name}" for name in ("user", "pass/word", "sig+nature", "key"))
BASIC = basic(USER, PASSWORD)
WHO = f"{USER}:{PASSWORD.replace('/', '%2F')}@"
SIGNED = f"X-Amz-Algorithm=A&X-Amz-Signature={SIGNATURE.replace('+', '%2B')}"

DEFINED = """{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
  ... on PythonError { message stack }
  ... on RepositoryLocation { repositories {
    allTopLevelResourceDetails { name resourceType configFields { name description defaultValueAsJson }
      configuredValues { key value type } nestedResources { name type resource { name description } } }
    jobs { name } } } } } } } }"""
SCHEMA = """{ runConfigSchemaOrError(selector: {repositoryName: "__repository__", repositoryLocationName:
  "personahub", pipelineName: "refresh_batch"}) { ... on RunConfigSchema {
  rootDefaultYaml allConfigTypes { key ... on CompositeConfigType { fields { name defaultValueAsJson } } } } } }"""
RUNS = """{ runsOrError { ... on Runs { results { status runConfigYaml tags { key value }
  eventConnection { events { __typename ... on MessageEvent { message }
    ... on ErrorEvent { error { message stack causes { message stack } errorChain { error { message stack } } } }
    ... on MaterializationEvent { metadataEntries { label ... on TextMetadataEntry { text }
      ... on JsonMetadataEntry { jsonString } ... on MarkdownMetadataEntry { mdStr } } } } } } } } }"""


@pytest.fixture
def site(standin: StandinServer) -> Iterator[Site]:
    def quote(header: str, path: str) -> str:
        return f"{BASIC} {PASSWORD} http://{WHO}{site.host}{path}" if header == BASIC else header

    with Site(standin, {BASIC, f"Bearer {KEY}"}, quote) as site:
        yield site


@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`")  # which Dagster itself reads
def test_secrets_of_addresses_and_keys_are_used_and_stand_nowhere(
    called: Called, site: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crawl = f"http://{WHO}{site.host}/x/crawl.jsonl?{SIGNED}"
    llm = {"PERSONAHUB_LLM_URL": f"http://{WHO}{site.host}/v1?{SIGNED}"}
    key = {"PERSONAHUB_LLM_URL": f"http://{site.host}/v1", "PERSONAHUB_LLM_API_KEY": KEY}
    embedder = {"PERSONAHUB_EMBED_URL": f"http://{WHO}{site.host}/v1?{SIGNED}", "PERSONAHUB_EMBED_MODEL": "tiny"}
    printed = []

    def call(*arguments: str, code: int = 0, **environment: str) -> str:
        got, out, error = called(*arguments, home=home, **environment)
        printed.append(out + error)
        assert got == code, out + error
        return printed[-1]

    call("ingest", crawl)
    call("ingest", crawl.replace(SIGNED, "X-Amz-Signature=another"))  # signed anew: the same source
    bare = call("ingest", f"http://{site.host}/x/crawl.jsonl", code=1)
    site.is_refusing = True
    assert "give the full address each time" in bare
    assert "give the full address each time" in call("ingest", crawl, code=1)
    refused = call("run", "--batch", "crawl", "--select", "+text_personas", code=1, **llm)
    call("doctor", "--no-canary", code=1, **key, **embedder)
    both = call("doctor", "--no-canary", code=1, **key | llm)
    assert "both use the header" in both
    assert "no: Basic *** ***" in refused
    assert {BASIC, f"Bearer {KEY}"} <= set(site.authorizations)
    assert all(SIGNED in path for path in site.paths if "?" in path and "crawl" not in path)

    for name, value in {"PERSONAHUB_HOME": str(home), **llm, **embedder}.items():
        monkeypatch.setenv(name, value)
    shown = "\n".join([*printed, *_tables(home), *_of_ui(home), repr(LLM(url=llm["PERSONAHUB_LLM_URL"]))])
    assert f"http://{site.host}/x/crawl.jsonl" in shown
    for secret in (CANARY, BASIC.split()[1], SIGNATURE, PASSWORD):
        assert secret not in shown, shown[max(0, shown.index(secret) - 500) :][:700]
        for path in (path for path in home.rglob("*") if path.is_file()):
            assert secret.encode() not in path.read_bytes(), path


def _tables(home: Path) -> Iterator[str]:
    for path in (home / "tables").rglob("*.parquet"):
        yield str(pl.read_parquet(path).rows())


def _of_ui(home: Path) -> Iterator[str]:
    """Responses to the UI about definitions, launchpad and runs."""
    schema = create_schema()
    module = LoadableTargetOrigin(executable_path=sys.executable, module_name="personahub_assets.definitions")
    target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(module, "personahub"))
    with open_instance(home) as instance, WorkspaceProcessContext(instance, target) as context:
        for query in (DEFINED, SCHEMA, RUNS):
            result: Any = asyncio.run(schema.execute_async(query, context_value=context.create_request_context()))
            assert not result.errors, result.errors
            yield json.dumps(result.data)


def test_no_run_sets_where_a_key_goes_or_which_variable_is_sent(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAHUB_LLM_API_KEY", KEY)
    job = build(Environment(home=home)).resolve_job_def("refresh_batch")
    for resource, setting in product(("llm", "embedder"), ("url", "model", "api_key_env")):
        for value in ("http://evil.example/v1", {"env": "PERSONAHUB_LLM_API_KEY"}):
            with pytest.raises(dg.DagsterInvalidConfigError, match=f'unexpected config entry "{setting}"') as caught:
                job.execute_in_process(run_config={"resources": {resource: {"config": {setting: value}}}})
            assert KEY not in str(caught.value)


def test_a_key_goes_only_to_the_address_that_the_environment_names(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAHUB_LLM_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("PERSONAHUB_LLM_API_KEY", KEY)
    with pytest.raises(LLMError):
        LLM(url=f"http://{site.host}/v1", model="m").models()
    assert site.authorizations == [None]
