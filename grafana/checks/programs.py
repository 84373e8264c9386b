"""The programs that grafana/check needs. What the system lacks goes to a cache outside the clone."""

import hashlib
import os
import pathlib
import shutil
import tempfile

from checks.report import GRAFANA, run, run_well
from testkit import built, fail

CACHES = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
CACHE = pathlib.Path(os.environ.get("CI_CACHE") or pathlib.Path(CACHES) / "weir-ci")


def prometheus_programs():
    """Where prometheus and promtool are. Debian's package is only unpacked: installed, it would run one for the system."""
    if shutil.which("prometheus") and shutil.which("promtool"):
        return pathlib.Path(shutil.which("prometheus")).parent
    kept = CACHE / "prometheus"
    if not (kept / "usr/bin/promtool").exists():
        if not shutil.which("apt-get"):
            fail("needs prometheus and promtool on the PATH (Debian, Ubuntu: the package prometheus)")
        print("no Prometheus here, unpacking Debian's package prometheus", flush=True)
        as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        with tempfile.TemporaryDirectory() as directory:
            if run("apt-get", "-q", "download", "prometheus", cwd=directory).returncode != 0:
                run_well(*as_root, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "update")
                run_well("apt-get", "-q", "download", "prometheus", cwd=directory)
            package = next(pathlib.Path(directory).glob("prometheus_*.deb"))
            run_well("dpkg-deb", "-x", package, pathlib.Path(directory) / "unpacked")
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(pathlib.Path(directory) / "unpacked", kept)
    return kept / "usr/bin"


def schema_program():
    """grafana/schema, built outside the clone, once for each version of it."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not pathlib.Path(go).exists():
        fail("needs go (1.24 or later) on the PATH")
    sources = [GRAFANA / "schema" / name for name in ("go.mod", "go.sum", "main.go")]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    program = CACHE / f"grafana-schema-{version}"
    if not program.exists():
        print("building grafana/schema", flush=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        run_well(go, "build", "-C", GRAFANA / "schema", "-o", program, ".")
    return program


def built_weir():
    return built("--bin", "weir")
