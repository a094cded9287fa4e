"""The tests of Celery and kombu: from the source distribution of the locked version, never from here."""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements-dev.lock"
CACHE = ROOT / ".cache" / "upstream"


def tests_of(package: str) -> Path:
    """A directory with the folder `t` of the installed `package`'s source distribution.

    It comes from the package index that pip is set up for, once, and must have a hash that the
    lock file names.
    """
    number = version(package)
    directory = CACHE / f"{package}-{number}"
    if directory.exists():
        return directory
    with tempfile.TemporaryDirectory() as temporary:
        downloaded = Path(temporary)
        requirement = downloaded / "requirements.txt"
        requirement.write_text(locked(package, number, LOCK.read_text()))
        subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                "--no-binary", ":all:", "--require-hashes", "-r", str(requirement),
                "-d", str(downloaded),
            ],
            check=True,
        )  # fmt: skip
        with tarfile.open(next(downloaded.glob("*.tar.gz"))) as archive:
            archive.extractall(downloaded, filter="data")
        directory.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(downloaded / f"{package}-{number}" / "t", directory / "t")
    return directory


def locked(package: str, number: str, lock: str) -> str:
    """The lines of a lock file that name `package` and its hashes."""
    found = re.search(
        rf"^{package}=={re.escape(number)} \\\n(?: +--hash=\S+(?: \\)?\n)+", lock, re.MULTILINE
    )
    if found is None:
        raise LookupError(
            f"{package} {number} is installed but not what {LOCK.name} says: make .venv/.installed"
        )
    return found.group()
