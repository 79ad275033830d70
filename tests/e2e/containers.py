"""The conditions of the images without a container engine: files, user, rights, environment.

Bubblewrap makes a root of its own for a process, with nothing in it but the system's libraries, the
Python environment, what Dockerfile.triton copies at /opt/persona and the mounted /data. All is
read-only but /tmp, /dev/shm and the image's other volumes, and the process is user 1000 without any
capability.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.processes import ManagedProcess, group_members
from launcher.triton_files import assemble_backends, find_triton, library_path
from tests.e2e.waiting import eventually
from triton_models.settings import REPOSITORY_ROOT

DOCKERFILE = REPOSITORY_ROOT / "Dockerfile.triton"
HOME = "/opt/persona"
USER = 1000


def stage_of(image: str) -> str:
    """Returns the instructions that make an image, those of its base first, one on each line."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    found = re.search(rf"^FROM (\S+) AS {image}$(.*?)(?=^FROM |\Z)", text, re.M | re.S)
    assert found, image
    base, own = found[1], found[2]
    return (stage_of(base) if re.search(rf"^FROM \S+ AS {base}$", text, re.M) else "") + own


def environment_of(image: str) -> dict[str, str]:
    """Returns what the image sets."""
    return dict(
        assignment.split("=", 1)
        for line in re.findall(r"^ENV (.*)$", stage_of(image), re.M)
        for assignment in shlex.split(line)
    )


def command_of(image: str) -> list[str]:
    """Returns what the image runs."""
    *_, form = re.findall(r"^(?:ENTRYPOINT|CMD) \[(.*)\]$", stage_of(image), re.M)
    return [part.strip().strip('"') for part in form.split(",")]


def copy_files(image: str, folder: Path) -> None:
    """Copies into a folder what the image has in `/opt/persona`."""
    for line in re.findall(r"^COPY (?!--from)(.*)$", stage_of(image), re.M):
        *sources, target = line.split()
        if target.startswith("/"):
            continue
        for source in sources:
            path = REPOSITORY_ROOT / source
            to = folder / target
            if path.is_dir():
                shutil.copytree(path, to, ignore=shutil.ignore_patterns("__pycache__"))
            elif target.endswith("/"):
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, to)
            else:
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, to)
    if "ln -s /data data" in stage_of(image):
        (folder / "data").symlink_to("/data")


@contextmanager
def container(
    image: str, folder: Path, data: Path, *arguments: str, **settings: str
) -> Iterator[ManagedProcess]:
    """Runs an image's command as in a container.

    Args:
        image: `triton`, `gateway` or `pod`.
        folder: Where its files and its log go.
        data: What is mounted at /data.
        *arguments: What follows the command, as behind `docker run IMAGE`.
        **settings: Variables, as with `docker run --env`.
    """
    files = folder / "opt"
    files.mkdir(parents=True)
    copy_files(image, files)
    os.chmod(folder, 0o755)
    environment = {**environment_of(image), **settings}
    binds = [*_system(), *_mount(files, HOME), *_mount(data, "/data")]
    binds += _volumes(image, folder)
    if image != "gateway":
        binds += _mount(_tritonserver(folder), "/opt/tritonserver")
    environment["PATH"] = f"/opt/tritonserver:{sys.prefix}/bin:/usr/bin:/bin"
    variables = [part for name, value in environment.items() for part in ("--setenv", name, value)]
    command = [
        "bwrap", *binds, "--remount-ro", "/", "--clearenv", *variables, "--chdir", HOME,
        "--die-with-parent", *_as_user(), *command_of(image), *arguments,
    ]  # fmt: skip
    process = ManagedProcess(image, command, os.environ, folder / f"{image}.log")
    try:
        yield process
    finally:
        process.stop(patience_seconds=0)


def comes_up(container: ManagedProcess, works: Callable[[], bool], seconds: float) -> bool:
    """Returns whether a container works within a time; one that has ended does not."""
    return eventually(lambda: works() or not container.running, seconds) and container.running


def terminate(container: ManagedProcess) -> None:
    """Sends SIGTERM to the process that would be a container's first, as `docker stop` does."""
    for pid in group_members(container.pid):
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if parent == container.pid:
            os.kill(pid, signal.SIGTERM)
            return
    raise AssertionError(f"nothing runs: {container.last_lines()}")


def _system() -> list[str]:
    """Returns a root with the system and this Python, and what may be written."""
    root = ["--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc", "--proc", "/proc"]
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path(f"/{name}").is_symlink():
            root += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif Path(f"/{name}").exists():
            root += ["--ro-bind", f"/{name}", f"/{name}"]
    root += ["--dev", "/dev"]
    for writable in ("/tmp", "/dev/shm"):
        root += ["--perms", "1777", "--tmpfs", writable]
    # After /tmp, where this environment may lie.
    for prefix in {sys.prefix, sys.base_prefix} - {"/usr"}:
        root += _mount(Path(prefix), prefix)
    return root


def _volumes(image: str, folder: Path) -> list[str]:
    """Returns writable mounts, the user's, of the volumes that the image has beside /data."""
    declared = re.findall(r"^VOLUME (.*)$", stage_of(image), re.M)
    mounts = []
    for target in {path for line in declared for path in json.loads(line)} - {"/data"}:
        volume = folder / "volumes" / target.lstrip("/")
        volume.mkdir(parents=True)
        if os.geteuid() == 0:
            os.chown(volume, USER, USER)
        mounts += ["--bind", str(volume), target]
    return mounts


def _mount(source: Path, target: str) -> list[str]:
    """Returns a read-only mount in folders that everybody may enter."""
    parents = [str(parent) for parent in reversed(Path(target).parents) if str(parent) != "/"]
    made = [part for parent in parents for part in ("--dir", parent)]
    return [*made, "--ro-bind", str(source), target]


def _as_user() -> list[str]:
    if os.geteuid() != 0:
        return ["--unshare-user", "--uid", str(USER), "--gid", str(USER)]
    return [
        "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
        "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs",
    ]  # fmt: skip


def _tritonserver(folder: Path) -> Path:
    """Makes a folder with a `tritonserver` that needs no more arguments than NVIDIA's image's."""
    server = folder / "tritonserver"
    server.mkdir()
    files = find_triton()
    assemble_backends(files, server / "backends")
    program = server / "tritonserver"
    program.write_text(
        "#!/bin/sh\n"
        f"export LD_LIBRARY_PATH={library_path(files)}\n"
        f'exec {files.executable} --backend-directory=/opt/tritonserver/backends "$@"\n'
    )
    program.chmod(0o755)
    return server
