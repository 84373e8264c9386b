"""The servers of one run of grafana/check: on 127.0.0.1, on free ports, stopped with it."""

import json
import math
import os
import pathlib
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

from checks.report import GRAFANA, judge, run, run_well
from testkit import Process, fail, free_port


class Postgres:
    """The cluster that scripts/with-postgres has started, with databases as compose.yaml has them."""

    def __init__(self):
        url = urllib.parse.urlsplit(os.environ["TEST_POSTGRES_URL"])
        self.host, self.port, self.superuser, self.password = url.hostname, url.port, url.username, url.password
        self.psql_program = pathlib.Path(os.environ["TEST_POSTGRES_BIN"]) / "psql"
        self.owner_password, self.reader_password = uuid.uuid4().hex, uuid.uuid4().hex
        environment = self.environment(self.superuser, self.password)
        environment.update(PATH=f"{self.psql_program.parent}:{os.environ['PATH']}", POSTGRES_USER=self.superuser,
                           WEIR_DATABASE_PASSWORD=self.owner_password, WEIR_READER_PASSWORD=self.reader_password)
        run_well(GRAFANA / "postgres/databases.sh", env=environment)

    def environment(self, user, password):
        return {**os.environ, "PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": user, "PGPASSWORD": password}

    def url(self, database):
        return f"postgres://weir:{self.owner_password}@{self.host}:{self.port}/{database}"

    def psql(self, database, *arguments, user=None):
        passwords = {"weir": self.owner_password, "weir_reader": self.reader_password, self.superuser: self.password}
        user = user or self.superuser
        return run(self.psql_program, "-qX", "-v", "ON_ERROR_STOP=1", "-d", database, *arguments,
                   env=self.environment(user, passwords[user]))

    def must(self, database, sql, user=None):
        done = self.psql(database, "-At", "-c", sql, user=user)
        if done.returncode != 0:
            fail(f"psql failed: {done.stderr}")
        return done.stdout.strip()

    def grant(self):
        for kind in ("analytics", "main"):
            done = self.psql(f"weir_{kind}", "-f", GRAFANA / f"postgres/grants-{kind}.sql", user="weir")
            judge(f"grants-{kind}.sql", [done.stderr] if done.returncode else [])
        for secret, table in (("email", "users"), ("ip_address", "consent_records"), ("code_hash", "sign_in_codes"),
                              ("token", "visitors")):
            done = self.psql("weir_main", "-c", f"SELECT {secret} FROM {table}", user="weir_reader")
            judge(f"Grafana's role does not see {table}.{secret}", [] if "permission denied" in done.stderr else ["it does"])


class Prometheus:
    def __init__(self, programs, directory, target, seconds=1):
        """The configuration of this directory, but for the interval and where Weir is."""
        text = (GRAFANA / "prometheus.yml").read_text()
        shutil.copytree(GRAFANA / "rules", pathlib.Path(directory) / "rules")
        text, intervals = re.subn(r"(_interval): 15s", rf"\1: {seconds}s", text)
        text, targets = re.subn(r"- weir:8081$", f"- {target}", text, flags=re.M)
        if (intervals, targets) != (2, 1):
            fail("prometheus.yml has not the intervals and the target that this check replaces")
        (pathlib.Path(directory) / "prometheus.yml").write_text(text)
        self.target, self.seconds = target, seconds
        address = f"127.0.0.1:{free_port()}"
        self.server = Process(
            [programs / "prometheus", "--config.file=prometheus.yml", f"--web.listen-address={address}",
             "--storage.tsdb.path=series", "--log.level=warn"], pathlib.Path(directory) / "prometheus.log", cwd=directory)
        self.url = f"http://{address}"
        self.server.wait_for_answer(f"{self.url}/-/ready", (200,))

    def ask(self, path, **parameters):
        """Its answer's data; an error is raised with what it said."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.loads(error.read()).get("error", error)) from error

    def wait_for_scrapes(self, count):
        """Before anything happens, so that what comes first is seen as a step."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = self.ask("query", query='count_over_time((up{job="weir"} == 1)[60s:1s])')["result"]
            if found and float(found[0]["value"][1]) >= count:
                self.began = time.time()
                return
            time.sleep(0.3)
        fail(f"prometheus does not scrape {self.target}:\n{self.server.text()[-2000:]}")

    def expand(self, text, ended):
        """Variables as Grafana fills them in, one job and one instance chosen."""
        instance = self.target.replace(".", r"\\.")
        for name, value in (("$__rate_interval", f"{4 * self.seconds}s"), ("$__range", f"{int(ended - self.began)}s"), ("$job", "weir"),
                            ("$instance", instance)):
            text = text.replace(name, value)
        if "$" in text:
            raise ValueError(f"a variable that this check does not know: {text}")
        return text

    def samples(self, target, ended):
        """How many series a query answers with, how many samples that are numbers, and the last of each series."""
        query = self.expand(target["expr"], ended)
        if target["instant"]:
            series = [[one["value"]] for one in self.ask("query", query=query, time=ended)["result"]]
        else:
            found = self.ask("query_range", query=query, start=self.began, end=ended, step="1s")["result"]
            series = [one["values"] for one in found]
        numbers = [[float(value) for _, value in values if math.isfinite(float(value))] for values in series]
        return len(series), sum(map(len, numbers)), [f"{values[-1]:.3g}" for values in numbers if values]
