"""A machine that is lost while it submits requests to a batch API: another one takes its batch over."""

import json
import os
import signal
import time
from pathlib import Path

from hub import SETTINGS, TOPICS
from processes import Process

from personahub_assets.core.object_homes import working_copy
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store

_RUN = ("run", "--batch-api", "--select", "+text_personas")


def begin(url: str, folder: Path, server: str, *arguments: str) -> Process:
    variables = {"PERSONAHUB_HOME": url, "PERSONAHUB_WORK": str(folder), "PERSONAHUB_LLM_URL": server}
    variables |= {"DAGSTER_HOME": "", "OPENBLAS_NUM_THREADS": "1"}
    folder.mkdir(exist_ok=True)
    return Process(list(arguments), {**os.environ, **variables}, folder)


def test_a_machine_takes_the_batch_of_a_lost_one_over(url: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with StandinServer(faults="batch=hang_submit,hang_s=60") as server:
        objects = Store(home=str(working_copy(url, first))).pulled().working_copy.objects  # type: ignore[union-attr]
        objects.write("hub.toml", f"{SETTINGS}[batch_api]\npoll_s = 0.2\n".encode(), "absent")
        pages = tmp_path / "pages.jsonl"
        pages.write_text("".join(json.dumps({"id": f"p{n}", "text": text}) + "\n" for n, text in enumerate(TOPICS)))
        code, _, err = begin(url, first, server.url, "ingest", str(pages)).end()
        assert code == 0, err
        lost = begin(url, first, server.url, *_RUN)
        while not server.stats()["batches"]:
            time.sleep(0.05)
        lost.send_signal(signal.SIGKILL)
        lost.end()
        code, _, err = begin(url, second, server.url, *_RUN).end()
        assert code == 0, err
        stats = server.stats()
    rows = Store(home=str(working_copy(url, second))).pulled().read_all("generations")
    assert (stats["sold"], stats["batches"], rows.height) == (len(TOPICS), 1, len(TOPICS))
    assert not list(objects.list("journal/batch_api/"))
