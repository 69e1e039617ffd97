"""The inbox: files become batches when they are complete."""

import json

import dagster as dg
from hub import TOPICS, Hub

from personahub_assets.definitions import build
from personahub_assets.generation.llm import LLM
from personahub_assets.store.tables import Store


def look(hub: Hub, instance: dg.DagsterInstance, cursor: str | None) -> tuple[dg.SensorResult | dg.SkipReason, str]:
    sensor = build(hub.environment).resolve_sensor_def("inbox")
    resources = {"store": Store(home=str(hub.home)), "llm": LLM(url=hub.environment.llm_url)}
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources)
    found = sensor(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found, context.cursor or ""


def drop(hub: Hub, name: str, texts: list[str]) -> None:
    inbox = hub.home / "inbox"
    inbox.mkdir(exist_ok=True)
    (inbox / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_a_file_is_taken_when_its_size_stays(hub: Hub) -> None:
    with hub.instance() as instance:
        drop(hub, "Crawl 7.jsonl", TOPICS[:1])
        first, cursor = look(hub, instance, None)
        assert isinstance(first, dg.SkipReason)
        drop(hub, "Crawl 7.jsonl", TOPICS[:2])
        second, cursor = look(hub, instance, cursor)
        assert isinstance(second, dg.SkipReason)
        third, cursor = look(hub, instance, cursor)
        assert isinstance(third, dg.SensorResult)
        assert [request.partition_key for request in third.run_requests or []] == ["crawl-7"]
        assert third.dynamic_partitions_requests is not None
        assert list(third.dynamic_partitions_requests[0].partition_keys) == ["crawl-7"]
        assert hub.store.read("batches", "crawl-7")["rows"].to_list() == [2]
        fourth, _ = look(hub, instance, cursor)
        assert isinstance(fourth, dg.SkipReason)


def test_a_grown_file_is_taken_again_with_another_run_key(hub: Hub) -> None:
    with hub.instance() as instance:
        drop(hub, "news.jsonl", TOPICS[:1])
        _, cursor = look(hub, instance, None)
        first, cursor = look(hub, instance, cursor)
        drop(hub, "news.jsonl", TOPICS[:3])
        _, cursor = look(hub, instance, cursor)
        second, cursor = look(hub, instance, cursor)
        assert isinstance(first, dg.SensorResult)
        assert isinstance(second, dg.SensorResult)
        keys = [(request.run_key, request.partition_key) for r in (first, second) for request in r.run_requests or []]
        assert [partition for _, partition in keys] == ["news", "news"]
        assert len({run for run, _ in keys}) == 2


def test_hidden_partial_and_unknown_files_are_left_alone(hub: Hub) -> None:
    with hub.instance() as instance:
        for name in (".news.jsonl.part", "notes.docx"):
            drop(hub, name, TOPICS[:1])
        (hub.home / "inbox" / "crawl").mkdir()
        (hub.home / "inbox" / "gone.csv").symlink_to("nowhere.csv")
        _, cursor = look(hub, instance, None)
        found, _ = look(hub, instance, cursor)
        assert isinstance(found, dg.SkipReason)
        message = found.skip_message or ""
        assert "crawl is a folder" in message
        assert "gone.csv is a link to a missing file" in message
        assert "notes.docx is of an unknown format; valid endings: " in message
        assert ".news" not in message


def test_nothing_is_registered_while_the_server_is_down(hub: Hub) -> None:
    hub.environment = hub.environment.model_copy(update={"llm_url": "http://127.0.0.1:9/v1"})
    with hub.instance() as instance:
        drop(hub, "news.jsonl", TOPICS[:1])
        _, cursor = look(hub, instance, None)
        found, _ = look(hub, instance, cursor)
    assert isinstance(found, dg.SkipReason)
    assert "http://127.0.0.1:9/v1" in (found.skip_message or "")
    assert hub.store.batches() == []


def test_a_damaged_file_is_named_and_does_not_stop_the_others(hub: Hub) -> None:
    with hub.instance() as instance:
        drop(hub, "good.jsonl", TOPICS[:1])
        (hub.home / "inbox" / "bad.parquet").write_bytes(b"this is no parquet")
        _, cursor = look(hub, instance, None)
        found, _ = look(hub, instance, cursor)
        assert isinstance(found, dg.SensorResult)
        assert [request.partition_key for request in found.run_requests or []] == ["good"]
