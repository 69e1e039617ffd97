"""Errors of assets and jobs as Dagster shows them: one sentence, without the stack of Dagster's own frames.

An error ends its step as a `dagster.Failure`. A step that stops on purpose (`Unfinished`, such as a spent budget)
cancels its run: nothing failed, and the same run continues later.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from personahub_assets.core import interrupts
from personahub_assets.core.errors import Unfinished
from personahub_assets.core.text import shorten
from personahub_assets.instance.compat import DagsterUserCodeProcessError, SerializableErrorInfo
from personahub_assets.instance.faults import explain
from personahub_assets.store.tables import UNREADABLE

STOPPED_TAG = "personahub/stopped"
"""Tag of a canceled run: why it stopped."""

_TAG_CHARS = 120


class StepFailed(DagsterUserCodeProcessError, dg.Failure):
    """Failure of a step whose stored error is one sentence; the cause is the original error."""

    def __init__(self, sentence: str):
        super().__init__(sentence, user_code_process_error_infos=[_as_stored(sentence)])  # type: ignore[no-untyped-call]


class StepStopped(DagsterUserCodeProcessError, dg.DagsterExecutionInterruptedError):
    """Interruption of a step that stopped on purpose; the cause is the `Unfinished` that stopped it."""

    def __init__(self, sentence: str):
        super().__init__(sentence, user_code_process_error_infos=[_as_stored(sentence)])  # type: ignore[no-untyped-call]


@contextmanager
def one_sentence(context: Any, home: Path) -> Iterator[None]:
    """Convert errors to `StepFailed`, and intended stops to a canceled run.

    Args:
        context: of the asset, op or check.
        home: where the traceback of an unexpected error is written.

    Raises:
        StepFailed: if the body raises an error.
        StepStopped: if the body raises `Unfinished`; the run is marked as being canceled.
    """
    try:
        yield
    except Unfinished as stop:
        raise _canceled(context, f"{stop}.") from stop
    except dg.Failure:
        raise
    except (*UNREADABLE, Exception) as error:
        interrupts.check()
        raise StepFailed(explain(error, home)) from error


def _canceled(context: Any, sentence: str) -> StepStopped:
    instance, run = context.instance, context.run
    instance.add_run_tags(run.run_id, {STOPPED_TAG: shorten(sentence, _TAG_CHARS)})
    # Dagster takes an interruption for a failure unless the run is marked before.
    instance.report_run_canceling(run, message=sentence)
    return StepStopped(sentence)


def _as_stored(sentence: str) -> SerializableErrorInfo:
    """The error as Dagster stores it; for other exceptions it adds about 45 lines of frames."""
    return SerializableErrorInfo(message=f"{sentence}\n", stack=[], cls_name=None)
