"""What the measurements of this directory share: servers, load, a PostgreSQL that waits for its disk, tables."""

import atexit
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
PAGE = "11111111-2222-3333-4444-555555555555"
SECRET = "a tracking secret for measurements"
# Two databases that nobody runs.
NOWHERE = ["postgres://nobody@127.0.0.1:1/analytics", "postgres://nobody@127.0.0.1:1/main"]


def run(*command, **options):
    done = subprocess.run(command, text=True, capture_output=True, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout


def cpu_seconds(pid):
    """User and system time of a process, its own threads only."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def family_cpu_seconds(leader):
    """The same of a process, its children, and those that it has waited for."""
    fields = pathlib.Path(f"/proc/{leader}/stat").read_text().rsplit(")", 1)[1].split()
    total = sum(int(fields[at]) for at in (11, 12, 13, 14)) / TICK
    for child in run("ps", "-o", "pid=", "--ppid", str(leader)).split():
        try:
            total += cpu_seconds(child)
        except FileNotFoundError:
            pass
    return total


class Server:
    """A program that listens, with a directory of its own."""

    def __init__(self, command, environment=None):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="weir-compare."))
        self.process = subprocess.Popen(
            command,
            cwd=self.directory,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=open(self.directory / "log", "w"),
        )
        # Not to be in the way of the next run when this one fails.
        atexit.register(self.stop)

    def wait_until_it_listens(self, url):
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(url, timeout=1)
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.05)
        sys.exit("the server did not start:\n" + (self.directory / "log").read_text()[-2000:])

    def resident_mebibytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Bare(Server):
    address = "127.0.0.1:18081"

    def __init__(self, programs):
        super().__init__([programs / "examples/bare", self.address])
        self.wait_until_it_listens(f"http://{self.address}/")


class Weir(Server):
    address = "127.0.0.1:18080"

    def __init__(self, programs, analytics=None, main=None, **settings):
        variables = {
            "WEIR_LISTEN": self.address,
            "WEIR_DATA_DIR": "data",
            "WEIR_THROTTLE__SESSION": "0",
            "WEIR_THROTTLE__PAGEVIEW": "0",
            "WEIR_THROTTLE__TRACK_INIT": "0",
            "WEIR_TRACKING_HMAC_SECRET": SECRET,
            "WEIR_JOURNAL__MAX_BYTES": "32GiB",
            "WEIR_LOG": "warn",
            # What is behind is measured before; nobody waits for it at the end.
            "WEIR_SHUTDOWN_TIMEOUT_SECONDS": "1",
        }
        variables.update(settings)
        if analytics:
            variables["WEIR_ANALYTICS_DATABASE_URL"] = analytics
        if main:
            variables["WEIR_MAIN_DATABASE_URL"] = main
        self.programs = programs
        super().__init__([programs / "weir"], variables)
        self.wait_until_it_listens(f"http://{self.address}/health/live")

    def metrics(self):
        text = urllib.request.urlopen(f"http://{self.address}/metrics", timeout=30).read().decode()
        return dict(line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")

    def accepted(self, route="session"):
        series = self.metrics().items()
        return sum(float(value) for name, value in series if f'route="{route}",outcome="accepted"' in name)

    def lag(self):
        return sum(float(value) for name, value in self.metrics().items() if name.startswith("weir_writer_lag_records{"))

    def drain(self, seconds=600):
        deadline = time.monotonic() + seconds
        while self.lag() > 0:
            if time.monotonic() > deadline:
                sys.exit("the writer does not catch up")
            time.sleep(0.05)

    def buckets(self, name, label):
        """A histogram's upper bounds in ms, with how many were below each."""
        found = []
        for series, value in self.metrics().items():
            match = re.match(name + r'_bucket\{' + label + r',le="([^"]+)"\}', series)
            if match:
                found.append((float(match[1].replace("+Inf", "inf")) * 1000, float(value)))
        return sorted(found)


def quantiles(before, after):
    """Within which bound of a histogram, in ms, the half, 99 and 99.9 of a hundred were meanwhile."""
    known = dict(before)
    counts = [(bound, count - known.get(bound, 0)) for bound, count in after]
    total = counts[-1][1]
    within = lambda share: next(bound for bound, count in counts if count >= share * total)
    return ", ".join(f"{within(share):g}" for share in (0.5, 0.99, 0.999))


class Load:
    """wrk, with a token that is still valid when the run ends."""

    def __init__(self, programs):
        self.programs = programs

    def environment(self):
        token = run(
            self.programs / "weir", "token", PAGE, cwd=ROOT / "load-tests",
            env={**os.environ, "WEIR_TRACKING_HMAC_SECRET": SECRET, "WEIR_DATA_DIR": tempfile.gettempdir()},
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


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join("---" if at == 0 else "---:" for at in range(len(head))) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


def median_with_spread(values, form="{:,.0f}"):
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}–{form.format(max(values))})"


def psql(url, sql):
    return run(pathlib.Path(os.environ["TEST_POSTGRES_BIN"]) / "psql", "-qAtX", "-d", url, "-c", sql)


def fresh_databases():
    server = os.environ["TEST_POSTGRES_URL"]
    names = [f"compare_{os.getpid()}_{time.monotonic_ns()}_{kind}" for kind in ("analytics", "main")]
    for name in names:
        psql(server, f"CREATE DATABASE {name}")
    return [server.rsplit("/", 1)[0] + "/" + name for name in names]


def postmaster():
    return int((pathlib.Path(os.environ["TEST_POSTGRES_DATA"]) / "postmaster.pid").read_text().split()[0])


def prepare(parser, script, optimised=False):
    """Everything built, with PostgreSQL running and its address in the environment. Returns the programs' directory."""
    if not shutil.which("wrk"):
        parser.error("needs wrk (Debian, Ubuntu: apt-get install wrk)")
    if os.environ.get("TEST_POSTGRES_DURABLE") != "1":
        environment = {**os.environ, "TEST_POSTGRES_DURABLE": "1"}
        sys.exit(subprocess.run([ROOT / "scripts/with-postgres", script, *sys.argv[1:]], env=environment).returncode)
    # Apart: what examples and tests need is not to be linked into the server that is measured.
    examples = ["--example", "bare", "--example", "load", "--example", "places"]
    for targets in [examples] if optimised else [["--bin", "weir"], examples]:
        subprocess.run(["cargo", "build", "--release", "--locked", *targets], cwd=ROOT, check=True)
    metadata = json.loads(run("cargo", "metadata", "--format-version", "1", "--no-deps", "--offline", cwd=ROOT))
    target = pathlib.Path(metadata["target_directory"])
    if not optimised:
        return target / "release"
    programs = target / "optimised"
    if not (programs / "weir").exists():
        parser.error("scripts/build-optimised comes first")
    if not (programs / "examples").exists():
        (programs / "examples").symlink_to(target / "release/examples")
    return programs
