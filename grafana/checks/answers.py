"""Whether every rule, variable and panel has an answer."""

import csv
import io
import json
import math
import re
import subprocess
import time

from checks.files import dashboards, name_of, panels_of
from checks.queries import expand_sql, names_in, names_of_metrics, partitions_read
from checks.report import judge, wrong

# What a panel with a bounded time may read: the days of an hour ago, of now, and the day more that a batch can be late.
PARTITIONS_MAX = 3


def check_prometheus(prometheus, promtool, metrics, ended):
    done = subprocess.run([promtool, "check", "metrics"], input=metrics, text=True, capture_output=True)
    judge("promtool check metrics", [done.stdout + done.stderr] if done.returncode else [],
          f"{len(names_of_metrics(metrics))} names, {sum(line[:1] not in ('', '#') for line in metrics.splitlines())} series")
    # Every route has its histogram from the start, and counts requests once somebody asks.
    of = lambda name: set(re.findall(rf'^{name}\{{.*?route="(\w+)"', metrics, re.M))
    missed = of("weir_request_duration_seconds_count") - of("weir_requests_total")
    judge("somebody asked for every route", [f"nobody for {route}" for route in sorted(missed)])
    known = names_of_metrics(metrics) | {"up"}
    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    records = {rule["name"] for rule in rules if rule["type"] == "recording"}
    for rule in rules:
        problems = [f"there is no {name}" for name in sorted(names_in(rule["query"]) - known - records)]
        if rule["health"] != "ok":
            problems.append(f"{rule['health']}: {rule.get('lastError')}")
        detail = ""
        if rule["type"] == "recording":
            series = prometheus.ask("query", query=f'{{__name__="{rule["name"]}"}}', time=ended)["result"]
            detail = f"{len(series)} series"
            if not any(math.isfinite(float(one["value"][1])) for one in series):
                problems.append("no sample")
        else:
            detail = rule["state"]
        judge(f"rule {rule['name']}", problems, detail)
    states = {rule["name"]: rule["state"] for rule in rules if rule["type"] == "alerting"}
    # A record was set aside and reads were refused, and nothing else is wrong.
    raised = {name for name, state in states.items() if state != "inactive"}
    expected = {"WeirDeadLetters", "WeirRecordsRefused"}
    judge("the alerts that this run has to raise, and no others", sorted(raised ^ expected), ", ".join(sorted(raised)))
    for board in dashboards():
        for variable in board["templating"]["list"]:
            if variable["type"] != "query":
                continue
            metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
            values = prometheus.ask(f"label/{label}/values", **{"match[]": prometheus.expand(metric, ended)})
            judge(f"{board['title']} / ${variable['name']}", [] if values else ["no value"], ", ".join(values))
        for panel in panels_of(board):
            targets = [target for target in panel["targets"] if "expr" in target]
            if targets:
                check_curves(prometheus, board, panel, targets, known, ended)


def check_curves(prometheus, board, panel, targets, known, ended):
    problems, series, samples, newest = [], 0, 0, []
    for target in targets:
        unknown = names_in(target["expr"]) - known
        problems += [f"query {target['refId']}: there is no {name}" for name in sorted(unknown)]
        try:
            found, numbers, last = prometheus.samples(target, ended)
        except ValueError as error:
            problems.append(f"query {target['refId']}: {error}")
            continue
        if not numbers:
            problems.append(f"query {target['refId']}: no sample")
        series, samples, newest = series + found, samples + numbers, newest + last
    judge(name_of(board, panel), problems, f"{series} series, {samples} samples, now {', '.join(newest[:4])}")


def check_tables(postgres):
    end = time.time()
    begin = end - 3600
    count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'analytics_sessions'::regclass"
    days = int(postgres.must("weir_analytics", count))
    judge("analytics_sessions has more days than a panel may read", [] if days > PARTITIONS_MAX else [f"it has {days}"], days)
    for board in dashboards():
        databases = {f"${{{variable['name']}}}": variable["current"]["value"].replace("-", "_")
                     for variable in board["templating"]["list"] if variable["type"] == "datasource"}
        for panel in panels_of(board):
            for target in panel["targets"]:
                if "rawSql" in target:
                    try:
                        query = expand_sql(target["rawSql"], begin, end)
                    except ValueError as error:
                        wrong(name_of(board, panel), error)
                        continue
                    check_rows(postgres, board, panel, target, databases[target["datasource"]["uid"]], query)


def check_rows(postgres, board, panel, target, database, query):
    done = postgres.psql(database, "--csv", "-c", query, user="weir_reader")
    if done.returncode != 0:
        return wrong(name_of(board, panel), done.stderr.strip())
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    problems = []
    if not any(list(row.values())[-1] for row in rows):
        problems.append("no row, or none with a value")
    elif panel["type"] == "stat" and not float(list(rows[0].values())[0]) > 0:
        problems.append("nothing but 0")
    if target["format"] == "time_series" and rows and "time" not in rows[0]:
        problems.append("no column is called time")
    for override in panel["fieldConfig"]["overrides"]:
        if rows and override["matcher"]["options"] not in rows[0]:
            problems.append(f"no column is called {override['matcher']['options']}")
    detail = f"{len(rows)} rows, " + ", ".join(rows[0].values() if rows else [])[:60]
    if database == "weir_analytics":
        plan = json.loads(postgres.must(database, f"EXPLAIN (FORMAT JSON) {query}", user="weir_reader"))
        read = partitions_read(plan)
        detail += f", {len(read)} days read"
        if not 0 < len(read) <= PARTITIONS_MAX:
            problems.append(f"{len(read)} partitions are read")
    return judge(name_of(board, panel), problems, detail)
