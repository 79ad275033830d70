"""Checks and preparations before the servers start.

The servers never run as root. In a container that starts as root, whose volumes may belong to root,
the launcher gives the folders to another user and then becomes that user for good.
"""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from launcher.errors import LaunchError
from launcher.processes import SHARED_MEMORY
from launcher.settings import ROOT, Preparations
from triton_models.settings import DEMO
from triton_models.vectors.folder_look import take_look

_SET_NO_NEW_PRIVILEGES = 38
_MIN_SHARED_MEMORY_MIB = 256


def prepare(environment: Mapping[str, str], *, with_gateway: bool) -> None:
    """Changes the owner of folders, drops root, and downloads the model, as configured.

    Args:
        environment: The variables of `Preparations`, and all of the gateway's.
        with_gateway: Whether the gateway is to be started as well.

    Raises:
        LaunchError: Something is missing that the operator has to provide, or the gateway cannot
            use its variables.
        SettingsError: A variable has an invalid value.
    """
    wanted = Preparations.read(environment)
    has_keys = environment.get("API_KEYS") or environment.get("API_KEYS_FILE")
    if with_gateway and not wanted.allow_anonymous and not has_keys:
        raise LaunchError(
            "set API_KEYS to the entries that 'persona keys new' prints, as a JSON list (or "
            "ALLOW_ANONYMOUS=true if anyone who can reach it may use it)"
        )
    if wanted.serve_as and os.geteuid() == 0:
        # Those that variables name: the others are no volumes.
        written = wanted.model_fields_set & {"model_cache", "vectors", "kernel_cache", "run_folder"}
        _become(wanted.serve_as, [getattr(wanted, name) for name in written])
    if with_gateway:
        _check_gateway(environment)
    _check_readable("MODEL_CACHE_DIR", wanted.model_cache, "models")
    _check_readable("VECTORS_DIR", wanted.vectors, "steering vectors")
    if wanted.fetch_model:
        _fetch_model(wanted.model_name)


def warnings(environment: Mapping[str, str]) -> list[str]:
    """Returns warnings for the operator."""
    found = []
    wanted = Preparations.read(environment)
    vectors, kernels = wanted.vectors, wanted.kernel_cache
    if not take_look(vectors, {}).files:
        state = "has no vectors" if vectors.exists() else "does not exist"
        found.append(
            f"VECTORS_DIR is {vectors}, which {state}: there are no traits until vectors are put "
            "there, which takes no restart"
        )
    if kernels and not _can_write(kernels):
        found.append(
            f"TRITON_CACHE_DIR is {kernels}, which user {os.getuid()} cannot write: GPU kernels "
            "are compiled again at each start, or not at all. Mount a volume there (docker run -v "
            "persona-kernels:/cache ...)"
        )
    # Requests pass between Triton and its Python processes through shared memory.
    system = os.statvfs(SHARED_MEMORY)
    mebibytes = system.f_frsize * system.f_blocks // 2**20
    if mebibytes < _MIN_SHARED_MEMORY_MIB:
        found.append(
            f"{SHARED_MEMORY} has {mebibytes} MiB, which many requests at once can use up: give it "
            "1 GiB (docker run --shm-size 1g, or an emptyDir of medium Memory)"
        )
    return found


def _become(user: int, folders: Iterable[Path]) -> None:
    for folder in folders:
        # If this fails, the check of that folder warns or refuses.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if not folder.is_symlink():
                os.chown(folder, user, user, follow_symlinks=False)
                _give_what_is_root_s(folder, user)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    ctypes.CDLL(None).prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _give_what_is_root_s(folder: Path, user: int) -> None:
    """Gives a user what root has written below a folder, as images did that served as root.

    What belongs to others stays theirs. The user could have put links there to what is not its own:
    symbolic ones are not followed, and files with several names are left alone.
    """
    for _, folders, files, descriptor in os.fwalk(folder):
        for name in (*folders, *files):
            with suppress(OSError):
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if found.st_uid == 0 and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
                    os.chown(name, user, user, dir_fd=descriptor, follow_symlinks=False)


def _check_gateway(environment: Mapping[str, str]) -> None:
    """Has the gateway look at its variables and files now, and not once Triton has started.

    In a process of its own, since images without a gateway have the launcher as well.
    """
    # The launcher says itself where Triton is.
    variables = {name: value for name, value in environment.items() if name != "TRITON_URL"}
    command = [sys.executable, "-m", "gateway", "check"]
    done = subprocess.run(
        command, cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True, check=False
    )
    # Below 0 a signal has ended it, such as Ctrl-C, which ends the launcher in its own way.
    if done.returncode > 0:
        problems = [line.removeprefix("error: ") for line in done.stderr.strip().splitlines()]
        raise LaunchError("\n".join(problems))


def _check_readable(variable: str, folder: Path, holds: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise LaunchError(f"{variable} is {folder}, which is no folder: name the folder of {holds}")
    if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        raise LaunchError(
            f"{variable} is {folder}, which user {os.getuid()} cannot read: mount the folder of "
            f'{holds} there (docker run -v "$PWD/data:/data" ...)'
        )


def _fetch_model(name: str) -> None:
    if name == DEMO or Path(name).is_dir():
        return
    command = [sys.executable, str(ROOT / "scripts" / "download_models.py"), name]
    if subprocess.run(command, check=False).returncode:
        raise LaunchError(f"the model {name} could not be fetched: see above")


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
