"""Finds the Triton server, and assembles the backends folder that it needs."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LaunchError

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class TritonFiles:
    """The parts of the server in the nvidia-pytriton wheel.

    Attributes:
        executable: The server.
        libraries: The folder of the shared libraries that it needs.
        python_backend: The Python backend, without a stub.
        stub: The Python backend's stub for the running Python.
    """

    executable: Path
    libraries: Path
    python_backend: Path
    stub: Path


def find_triton() -> TritonFiles:
    """Finds the server in the current Python environment.

    Raises:
        LaunchError: The wheel is not installed, or has no stub for the running Python.
    """
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise LaunchError(
            "Triton is not installed in this environment: run "
            "pip install -e '.[server,local-triton,gateway]'"
        )
    package = Path(spec.origin).parent
    root = package / "tritonserver"
    files = TritonFiles(
        executable=root / "bin" / "tritonserver",
        libraries=package.parent / "nvidia_pytriton.libs",
        python_backend=root / "backends" / "python",
        stub=root / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub",
    )
    for path in (files.executable, files.libraries, files.python_backend, files.stub):
        if not path.exists():
            raise LaunchError(
                f"the nvidia-pytriton package has no {path.relative_to(package.parent)}: use "
                "Python 3.10 to 3.12 and reinstall the package"
            )
    return files


def assemble_backends(files: TritonFiles, folder: Path) -> None:
    """Fills a folder for `--backend-directory`: the Python backend with its stub.

    The folder is created anew, since files of an old one may still be in use by a process that is
    being killed, and could not be overwritten.

    Raises:
        LaunchError: The folder cannot be written.
    """
    backend = folder / "python"
    try:
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(files.python_backend, backend)
        shutil.copy2(files.stub, backend / files.stub.name)
    except OSError as error:
        reason = error.strerror or error
        raise LaunchError(f"the backends folder {folder} cannot be written: {reason}") from error


def library_path(files: TritonFiles) -> str:
    """Returns an `LD_LIBRARY_PATH` with the libraries that the server and the stub need.

    Raises:
        LaunchError: A library is missing; without libpython, for example, no model would load.
    """
    folders = [str(files.libraries)]
    name = f"libpython{_PYTHON}.so.1.0"
    own = Path(sysconfig.get_config_var("LIBDIR") or "") / name
    if own.is_file():
        folders.append(str(own.parent))
    else:
        try:
            ctypes.CDLL(name)
        except OSError as error:
            raise LaunchError(
                f"{name} is missing, which Triton's Python backend needs. On Debian and Ubuntu: "
                f"apt-get install libpython{_PYTHON}. With pyenv: build Python with "
                "PYTHON_CONFIGURE_OPTS=--enable-shared"
            ) from error
    inherited = os.environ.get("LD_LIBRARY_PATH")
    path = ":".join([*folders, inherited] if inherited else folders)
    _check_dependencies(files, path)
    return path


def _check_dependencies(files: TritonFiles, path: str) -> None:
    """Makes sure that the dynamic linker finds every library that the server needs.

    Raises:
        LaunchError: One is missing; the message names it.
    """
    for program in (files.executable, files.python_backend / "libtriton_python.so"):
        found = subprocess.run(
            ["ldd", str(program)],
            env={**os.environ, "LD_LIBRARY_PATH": path, "LC_ALL": "C"},
            capture_output=True,
            text=True,
        )
        missing = [line.strip() for line in found.stdout.splitlines() if "not found" in line]
        missing += [line for line in found.stderr.splitlines() if "not found" in line]
        if missing:
            raise LaunchError(
                f"{program.name} lacks system libraries: {'; '.join(missing)}. Install them with "
                "the system's package manager; Triton 2.51 needs glibc 2.35 or newer (Debian 12, "
                "Ubuntu 22.04)"
            )
