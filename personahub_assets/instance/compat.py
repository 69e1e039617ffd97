"""Undocumented parts of Dagster, in one place: check these first with a new version of Dagster.

Each is imported on first use, because some take a second. A test imports all of them, and checks that the package uses
no others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster._cli.proxy_server_manager import ProxyServerManager
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
    from dagster._core.errors import DagsterUserCodeProcessError
    from dagster._core.instance.ref import InstanceRef
    from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
    from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
    from dagster._core.storage.runs import RunStorage, SqliteRunStorage
    from dagster._core.storage.schedules import SqliteScheduleStorage
    from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS, create_db_conn_string
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._serdes import serialize_value
    from dagster._utils.interrupts import setup_interrupt_handlers
    from dagster._utils.log import configure_loggers
    from dagster_shared.error import SerializableErrorInfo

__all__ = [
    "INDEX_SHARD_NAME",
    "SQLITE_BUSY_TIMEOUT_SECONDS",
    "DagsterUserCodeProcessError",
    "InstanceRef",
    "ProxyServerManager",
    "RegisteredCodeLocationOrigin",
    "RemoteJobOrigin",
    "RemoteRepositoryOrigin",
    "RunStorage",
    "SerializableErrorInfo",
    "SqliteEventLogStorage",
    "SqliteRunStorage",
    "SqliteScheduleStorage",
    "UnresolvedAssetJobDefinition",
    "WorkspaceFileTarget",
    "WorkspaceProcessContext",
    "configure_loggers",
    "create_db_conn_string",
    "serialize_value",
    "setup_interrupt_handlers",
]

MODULES = {
    "INDEX_SHARD_NAME": "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "DagsterUserCodeProcessError": "dagster._core.errors",
    "InstanceRef": "dagster._core.instance.ref",
    "ProxyServerManager": "dagster._cli.proxy_server_manager",
    "RegisteredCodeLocationOrigin": "dagster._core.remote_origin",
    "RemoteJobOrigin": "dagster._core.remote_origin",
    "RemoteRepositoryOrigin": "dagster._core.remote_origin",
    "RunStorage": "dagster._core.storage.runs",
    "SQLITE_BUSY_TIMEOUT_SECONDS": "dagster._core.storage.sqlite",
    "SerializableErrorInfo": "dagster_shared.error",
    "SqliteEventLogStorage": "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "SqliteRunStorage": "dagster._core.storage.runs",
    "SqliteScheduleStorage": "dagster._core.storage.schedules",
    "UnresolvedAssetJobDefinition": "dagster._core.definitions.unresolved_asset_job_definition",
    "WorkspaceFileTarget": "dagster._core.workspace.load_target",
    "WorkspaceProcessContext": "dagster._core.workspace.context",
    "configure_loggers": "dagster._utils.log",
    "create_db_conn_string": "dagster._core.storage.sqlite",
    "serialize_value": "dagster._serdes",
    "setup_interrupt_handlers": "dagster._utils.interrupts",
}
DAEMON_MODULE = "dagster._daemon"
"""Module for `python -m`, with the arguments of `dagster-daemon`."""
NO_COMPUTE_LOGS_MODULE = "dagster._core.storage.noop_compute_log_manager"
"""Named in the configuration of an instance."""


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
