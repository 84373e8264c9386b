"""Everything that might disturb Weir's answers, many times more often than it happens, for whoever measures them meanwhile.

A new segment every MiB; every five seconds an exchanged GeoIP database and the partitions of another day; a few hundred new
user agents a second, for each of which the full cache lets one go; and PostgreSQL's checkpoints, one after the other: the
shortest time it allows is half a minute, in which it spreads the writing. By hand (CHECKPOINT) it writes as fast as it can,
which is another matter; that is every five seconds, where it is asked for.
"""

import concurrent.futures
import datetime
import os
import pathlib
import sys
import tempfile
import threading
import uuid

from measure import psql, run

EVERY_SECONDS = 5
# Four connections that wait so long before each request.
AGENTS_PAUSE_MS = 8
AGENTS_AT_LEAST = 100
CHECKPOINT_TIMEOUT_SECONDS = 30


def set_on_server(setting):
    server = os.environ["TEST_POSTGRES_URL"]
    psql(server, f"ALTER SYSTEM {setting}")
    psql(server, "SELECT pg_reload_conf()")


def checkpoints():
    """How many have been begun, by the clock, by the log's size or by hand."""
    server = os.environ["TEST_POSTGRES_URL"]
    if int(psql(server, "SHOW server_version_num")) < 170_000:
        return int(psql(server, "SELECT checkpoints_timed + checkpoints_req FROM pg_stat_bgwriter"))
    return int(psql(server, "SELECT num_timed + num_requested FROM pg_stat_checkpointer"))


class Disturbing:
    """What happens while a block runs. Its end is an error when a checkpoint, a partition or the new user agents failed; that
    segments and GeoIP databases were exchanged is not looked at."""

    def __init__(self, programs, load, checkpoints_by_hand=False):
        self.load, self.checkpoints_by_hand = load, checkpoints_by_hand
        self.directory = tempfile.TemporaryDirectory(prefix="weir-places.")
        self.places = pathlib.Path(self.directory.name) / "city.mmdb"
        run(programs / "examples/places", self.places, "200000")
        self.settings = {"WEIR_JOURNAL__SEGMENT_BYTES": "1MiB", "WEIR_GEOIP_DATABASE": str(self.places)}

    def around(self, weir, analytics, seconds):
        """For a block that takes so long: of a server with these settings, and its analytics database."""
        self.weir, self.analytics, self.seconds = weir, analytics, seconds
        self.fill_agents()
        return self

    def __enter__(self):
        self.parsed_before, self.checkpoints_before = self.parsed(), checkpoints()
        set_on_server(f"SET checkpoint_timeout = {CHECKPOINT_TIMEOUT_SECONDS}")
        self.over = threading.Event()
        self.threads = concurrent.futures.ThreadPoolExecutor()
        self.running = [self.threads.submit(self.every_few_seconds), self.threads.submit(self.new_agents)]

    def __exit__(self, *_):
        self.over.set()
        self.threads.shutdown()
        set_on_server("RESET checkpoint_timeout")
        for running in self.running:
            running.result()
        done = checkpoints() - self.checkpoints_before
        # One may have begun just before.
        if done < self.seconds // CHECKPOINT_TIMEOUT_SECONDS - 1:
            sys.exit(f"disturbing: only {done} checkpoints began")
        parsed = self.parsed() - self.parsed_before
        if parsed < AGENTS_AT_LEAST * self.seconds:
            sys.exit(f"disturbing: only {parsed:.0f} user agents were new")

    def every_few_seconds(self):
        # Made anew from its own bytes: what writes one with 200,000 networks would take the CPU that is measured.
        content, beside = self.places.read_bytes(), self.places.with_suffix(".new")
        day = datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)
        while not self.over.wait(EVERY_SECONDS):
            beside.write_bytes(content)
            beside.rename(self.places)
            if self.checkpoints_by_hand:
                psql(os.environ["TEST_POSTGRES_URL"], "CHECKPOINT")
            next_day = day + datetime.timedelta(days=1)
            self.make_partitions(day, next_day)
            day = next_day

    def make_partitions(self, day, next_day):
        """What Weir does for each day, with its statements: in one transaction made beside the table, then attached."""
        lowest, highest = (uuid.UUID(int=int(at.timestamp() * 1000) << 80) for at in (day, next_day))
        statements = []
        for table in ("analytics_sessions", "analytics_pageviews"):
            name = f"{table}_{day:%Y%m%d}"
            statements += [
                f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
                f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{lowest}') TO ('{highest}')",
            ]
        psql(self.analytics, "; ".join(statements))

    def fill_agents(self):
        """As many user agents as the cache holds: it is full when more of them do not make it longer."""
        held, entries = -1.0, 0.0
        for _ in range(30):
            if entries <= held:
                return self.weir.drain()
            self.load.wrk(self.weir.address, 64, 2, "agents.lua", refused=True)
            held, entries = entries, float(self.weir.metrics()["weir_user_agent_cache_entries"])
        sys.exit(f"disturbing: the cache of user agents is not full with {entries:.0f}")

    def new_agents(self):
        self.load.wrk(self.weir.address, 4, self.seconds, "agents.lua", refused=True, PAUSE_MS=str(AGENTS_PAUSE_MS))

    def parsed(self):
        return float(self.weir.metrics()['weir_user_agent_lookups_total{result="miss"}'])
