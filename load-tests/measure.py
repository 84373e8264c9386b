"""What the measurements of this directory share: servers, load, a PostgreSQL that waits for its disk, tables."""

import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))
import testkit  # noqa: E402
from testkit import (  # noqa: E402, F401
    ROOT, cpu_seconds, drop_databases, family_cpu_seconds, free_port, fresh_databases, postmaster, psql, table,
)

PAGE = "11111111-2222-3333-4444-555555555555"
SECRET = "a tracking secret for measurements"
# Two databases that nobody runs.
NOWHERE = ["postgres://nobody@127.0.0.1:1/analytics", "postgres://nobody@127.0.0.1:1/main"]


def run(*command, **options):
    done = subprocess.run(command, text=True, capture_output=True, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout


class Server:
    """A program that listens and is not Weir, with a directory of its own. It gets its address as the last argument."""

    def __init__(self, command, **variables):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="weir-compare."))
        self.address = f"127.0.0.1:{free_port()}"
        self.process = testkit.Process(
            [*command, self.address], self.directory / "log", cwd=self.directory, env=testkit.clean_environment(**variables)
        )
        self.process.wait_for_answer(f"http://{self.address}/")

    def stop(self):
        self.process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class Bare(Server):
    def __init__(self, programs):
        super().__init__([programs / "examples/bare"])


class Weir(testkit.Weir):
    """A Weir that is measured: started at once, removed when it is stopped."""

    def __init__(self, programs, analytics=None, main=None, **settings):
        super().__init__(programs / "weir", analytics, main, **{
            "WEIR_THROTTLE__SESSION": "0",
            "WEIR_THROTTLE__PAGEVIEW": "0",
            "WEIR_THROTTLE__TRACK_INIT": "0",
            "WEIR_TRACKING_HMAC_SECRET": SECRET,
            "WEIR_JOURNAL__MAX_BYTES": "32GiB",
            "WEIR_LOG": "warn",
            # What is behind is measured before; nobody waits for it at the end.
            "WEIR_SHUTDOWN_TIMEOUT_SECONDS": "1",
            **settings,
        })
        self.start()

    def accepted(self, route="session"):
        counted = ((name, value) for name, value in self.metrics().items() if name.startswith("weir_requests_total{"))
        return sum(value for name, value in counted if f'route="{route}"' in name and 'outcome="accepted"' in name)

    def drain(self, seconds=600):
        super().drain(seconds)

    def resident_mebibytes(self):
        return self.process.resident_mebibytes()

    def buckets(self, name, label):
        """A histogram's upper bounds in ms, with how many were below each."""
        found = []
        for series, value in self.metrics().items():
            match = re.match(name + r'_bucket\{' + label + r',le="([^"]+)"\}', series)
            if match:
                found.append((float(match[1].replace("+Inf", "inf")) * 1000, value))
        return sorted(found)

    def stop(self):
        self.process.stop()
        self.remove()


def quantiles(before, after):
    """Within which bound of a histogram, in ms, p50, p99 and p99.9 were meanwhile."""
    known = dict(before)
    counts = [(bound, count - known.get(bound, 0)) for bound, count in after]
    total = counts[-1][1]
    within = lambda share: next(bound for bound, count in counts if count >= share * total)
    return {name: within(share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}


class Load:
    """wrk, with a token that is still valid when the run ends."""

    def __init__(self, programs):
        self.programs = programs

    def environment(self):
        token = run(
            self.programs / "weir", "token", PAGE, cwd=ROOT / "load-tests",
            env=testkit.clean_environment(WEIR_TRACKING_HMAC_SECRET=SECRET, WEIR_DATA_DIR=tempfile.gettempdir()),
        )
        return {**os.environ, "BIO_PAGE_ID": PAGE, "TRACKING_TOKEN": token.split()[-1]}

    def wrk(self, address, connections, seconds, script="session.lua", refused=False, **environment):
        """Answers a second, and how many there were in all."""
        out = run(
            "wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
            "-s", str(ROOT / "load-tests" / script), f"http://{address}", env={**self.environment(), **environment},
        )
        if "Non-2xx" in out and not refused:
            sys.exit(f"not every answer was good:\n{out}")
        took = re.search(r"(\d+) requests in ([0-9.]+)(m?s|m)", out)
        rate = float(re.search(r"Requests/sec:\s+([0-9.]+)", out)[1])
        return rate, int(took[1])

    def constant(self, address, connections, rate, seconds):
        out = run(
            self.programs / "examples/load", address, str(connections), str(rate), str(seconds), env=self.environment()
        )
        return out.strip()


def median_with_spread(values, form="{:,.0f}"):
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}–{form.format(max(values))})"


def prepare(parser, script, optimised=False):
    """Everything built, with PostgreSQL running and its address in the environment. Returns the programs' directory."""
    if not shutil.which("wrk"):
        parser.error("needs wrk (Debian, Ubuntu: apt-get install wrk)")
    testkit.with_postgres(script)
    # Apart: what examples and tests need is not to be linked into the server that is measured.
    examples = ["--example", "bare", "--example", "load", "--example", "places"]
    for targets in [examples] if optimised else [["--bin", "weir"], examples]:
        testkit.cargo("build", "--release", "--locked", *targets)
    target = pathlib.Path(testkit.metadata()["target_directory"])
    if not optimised:
        return target / "release"
    programs = target / "optimised"
    if not (programs / "weir").exists():
        parser.error("scripts/build-optimised comes first")
    if not (programs / "examples").exists():
        (programs / "examples").symlink_to(target / "release/examples")
    return programs
