"""Drop the rights of a process before it runs SQL of users.

On Linux (5.13 or later) it can write, create and remove files below one folder only, and cannot start programs or, from
6.7 on, open connections: Landlock needs no privileges and cannot be undone. Other systems are not restricted.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES, _PARENT_DEATH_SIGNAL = 38, 1
# Bits of the kernel's linux/landlock.h: executing, writing, then removing, making and truncating files of all kinds.
_EXECUTE, _WRITE = 1 << 0, 1 << 1
_CHANGES = {1: range(4, 13), 2: range(13, 14), 3: range(14, 15)}
_BIND_AND_CONNECT = 0b11
_NETWORK_SINCE = 4


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def confine(folder: Path) -> bool:
    """Restrict writing to one folder, and forbid programs and the network, for this thread and its children.

    Call before starting other threads.

    Returns:
        Whether the system supports it.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return False
    rules = _create_rules(libc, version)
    try:
        _allow(libc, rules, folder, _file_rights(version) & ~_EXECUTE)
        _check(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _check(libc.syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)
    return True


def _file_rights(version: int) -> int:
    bits = [bit for since, several in _CHANGES.items() if since <= version for bit in several]
    return _EXECUTE | _WRITE | sum(1 << bit for bit in bits)


def _create_rules(libc: ctypes.CDLL, version: int) -> int:
    has_network = version >= _NETWORK_SINCE
    rules = _Ruleset(_file_rights(version), _BIND_AND_CONNECT if has_network else 0)
    # An older kernel knows the first field only, and refuses a longer structure.
    size = ctypes.sizeof(_Ruleset) if has_network else ctypes.sizeof(ctypes.c_uint64)
    return _check(libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0))


def _allow(libc: ctypes.CDLL, rules: int, folder: Path, rights: int) -> None:
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        rule = _PathBeneath(rights, handle)
        _check(libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(handle)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result


def bound_memory(megabytes: int) -> None:
    """Limit the memory of this process in MiB, and disable core dumps."""
    with suppress(ImportError):  # Windows
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Not the address space: files that are mapped are in that, too.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = megabytes << 20
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):  # a system that has no such bound
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def end_with_parent() -> None:
    """Ignore Ctrl-C, which the parent handles, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
