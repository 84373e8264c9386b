"""What the scripts share that run k6.js: a Weir of their own, and one run against it."""

import atexit
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "scripts"))
import testkit  # noqa: E402
from testkit import ROOT, TICK, built, cpu_seconds, fail, table  # noqa: E402, F401


class Weir(testkit.Weir):
    """A server with secrets of its own, which k6.js is told."""

    def __init__(self, program, analytics=None, main=None, **settings):
        self.secrets = {name: secrets.token_hex(16) for name in ("TRACKING_HMAC_SECRET", "JWT_SECRET", "INTERNAL_KEY")}
        of_weir = {f"WEIR_{name}": value for name, value in self.secrets.items()}
        super().__init__(program, analytics, main, **{"WEIR_LOG": "warn", **of_weir, **settings})

    def start(self):
        return super().start(ready=True)


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
