"""What the scripts share that run k6.js: a Weir of their own, and one run against it."""

import atexit
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TICK = os.sysconf("SC_CLK_TCK")


def fail(message):
    sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {message}")


def built(*arguments, profile):
    """The program that cargo makes with these arguments."""
    cargo = shutil.which("cargo") or str(pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo")) / "bin/cargo")
    try:
        subprocess.run([cargo, "build", "--locked", *arguments], cwd=ROOT, check=True)
        metadata = subprocess.run(
            [cargo, "metadata", "--format-version", "1", "--no-deps", "--offline"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )
    except FileNotFoundError:
        fail("needs cargo: install Rust, for example with rustup")
    except subprocess.CalledProcessError as error:
        fail(f"cargo failed with {error.returncode}")
    return pathlib.Path(json.loads(metadata.stdout)["target_directory"]) / profile / "weir"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def cpu_seconds(pid):
    """User and system time of a process and of the children that it has waited for."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(fields[at]) for at in (11, 12, 13, 14)) / TICK


class Weir:
    """A server with secrets, a port and a directory of its own, that can be ended and started again."""

    def __init__(self, program, analytics=None, main=None, **settings):
        self.program = pathlib.Path(program).resolve()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="weir-k6."))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.secrets = {name: secrets.token_hex(16) for name in ("TRACKING_HMAC_SECRET", "JWT_SECRET", "INTERNAL_KEY")}
        # Nobody's settings but these.
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
        self.environment.update({
            "WEIR_LISTEN": f"127.0.0.1:{self.port}",
            "WEIR_DATA_DIR": str(self.directory / "data"),
            "WEIR_LOG": "warn",
            **{f"WEIR_{name}": value for name, value in self.secrets.items()},
            **({"WEIR_ANALYTICS_DATABASE_URL": analytics, "WEIR_MAIN_DATABASE_URL": main} if analytics else {}),
            **settings,
        })
        self.process = None
        atexit.register(self.remove)

    def start(self):
        with open(self.directory / "log", "a") as log:
            self.process = subprocess.Popen([self.program], cwd=self.directory, env=self.environment, stdout=log, stderr=log)
        for _ in range(1200):
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{self.url}/health/ready", timeout=2)
                return self
            except urllib.error.HTTPError:
                time.sleep(0.05)
            except OSError:
                time.sleep(0.05)
        fail("the server did not start:\n" + (self.directory / "log").read_text()[-2000:])

    def metrics(self):
        text = urllib.request.urlopen(f"{self.url}/metrics", timeout=10).read().decode()
        return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}

    def drain(self, seconds=120):
        """Waits until both databases have everything."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            series = self.metrics().items()
            if sum(value for name, value in series if name.startswith("weir_writer_lag_records{")) == 0:
                return
            time.sleep(0.1)
        fail(f"the writers did not catch up within {seconds} s")

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        """An orderly end. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            fail("the server does not end after SIGTERM")

    def remove(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Run:
    """One run of k6.js, in the background until it is waited for."""

    def __init__(self, weir, profile, *, ids=False, thresholds=True, **settings):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="weir-k6-run."))
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        # Not on a command line, where everybody could read the secrets.
        variables = {"BASE_URL": weir.url, "PROFILE": profile, "SUMMARY": str(self.directory / "summary"), **weir.secrets}
        variables.update({name.upper(): str(value) for name, value in settings.items() if value is not None})
        if ids:
            variables["PRINT_IDS"] = "1"
        command = [ROOT / "load-tests/k6/run", "--console-output", self.directory / "ids"]
        if not thresholds:
            command.append("--no-thresholds")
        names = ("BASE_URL", "PROFILE", "RATE", "DURATION", "THINK", "SIGN_IN", "SUMMARY", "PRINT_IDS")
        inherited = {name: value for name, value in os.environ.items() if name not in names}
        with open(self.directory / "said", "w") as said:
            self.process = subprocess.Popen(
                command, env={**inherited, **variables}, stdout=said, stderr=said, start_new_session=True
            )
        atexit.register(self.end)

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()

    def wait(self, seconds):
        """Returns what the run came to."""
        try:
            self.status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            fail(f"the load did not end within {seconds} s:\n{self.said()}")
        if self.status not in (0, 99):
            fail(f"the load failed with {self.status}:\n{self.said()}")
        return json.loads((self.directory / "summary.json").read_text())

    def said(self):
        return (self.directory / "said").read_text()

    def acknowledged(self):
        """Every id that was printed, by kind."""
        found = {}
        for line in (self.directory / "ids").read_text().splitlines():
            match = re.search(r"acknowledged (\w+) ([^\"]+)", line)
            if match:
                found.setdefault(match[1], []).append(tuple(match[2].split()))
        return found


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join("---" if at == 0 else "---:" for at in range(len(head))) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


# What is in both databases, in the same words for SQLite and PostgreSQL. `consent` counts the choices of everybody.
STORED = {
    "visitor": ("main", "SELECT count(*) FROM visitors"),
    "session": ("analytics", "SELECT count(*) FROM analytics_sessions"),
    "view": ("analytics", "SELECT count(*) FROM analytics_pageviews"),
    # Nobody beats more than once in a session.
    "heartbeat": ("analytics", "SELECT count(*) FROM analytics_sessions WHERE duration > 0"),
    # Only who leaves says how far the page was scrolled.
    "leave": ("analytics", "SELECT count(*) FROM analytics_pageviews WHERE scroll_depth IS NOT NULL"),
    "identity": ("analytics", "SELECT count(*) FROM analytics_sessions WHERE user_id IS NOT NULL"),
    "event": ("main", "SELECT count(*) FROM funnel_events"),
    "consent": ("main", "SELECT count(*) FROM consent_records"),
    "user": ("main", "SELECT count(*) FROM users"),
}

def repeated(table, columns):
    return f"SELECT count(*) FROM (SELECT {columns} FROM {table} GROUP BY {columns} HAVING count(*) > 1) AS found"


# What would be there more often than it was sent: each visitor has one session, looks at a page once, beats once, takes a
# step through the funnel once, and whoever is signed in chooses once.
DOUBLED = [
    ("analytics", repeated("analytics_sessions", "visitor_id")),
    ("analytics", repeated("analytics_pageviews", "session_id, url")),
    ("analytics", "SELECT count(*) FROM analytics_sessions WHERE duration > 30"),
    ("analytics", """SELECT count(*) FROM analytics_sessions AS s
        WHERE page_views <> (SELECT count(*) FROM analytics_pageviews AS v WHERE v.session_id = s.id)"""),
    ("main", repeated("funnel_events", "user_id, event")),
    ("main", repeated("consent_records WHERE user_id IS NOT NULL", "user_id")),
]
