"""What can be seen without running anything: dashboards, rules, the compose file, the runbook."""

import json
import pathlib
import re

from checks.queries import names_in
from checks.report import GRAFANA, ROOT, judge, run, wrong
from testkit import clean_environment


# Those of Grafana's units that the dashboards use: another word would stand behind the figure as it is.
UNITS = {"none", "short", "percent", "percentunit", "s", "bytes", "Bps", "reqps", "ops", "wps", "cps"}


def dashboards():
    return [json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))]


def panels_of(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def check_files(promtool, schema):
    done = run(GRAFANA / "build", "--check")
    judge("dashboards are what grafana/build writes", [done.stderr.strip()] if done.returncode else [])
    done = run(schema, *sorted((GRAFANA / "dashboards").glob("*.json")))
    judge("dashboards are what Grafana's own types ask for", [done.stderr.strip()] if done.returncode else [])
    check_compose(schema)
    rules = sorted((GRAFANA / "rules").glob("*.yml"))
    tests = sorted((GRAFANA / "rules/tests").glob("*.yml"))
    for what, command in (
        ("promtool check config", ("check", "config", "--lint=all", "--lint-fatal", GRAFANA / "prometheus.yml")),
        ("promtool check rules", ("check", "rules", "--lint=all", "--lint-fatal", *rules)),
        ("promtool test rules", ("test", "rules", *tests)),
    ):
        done = run(promtool, *command)
        judge(what, [done.stdout + done.stderr] if done.returncode else [])
    check_alerts(tests)
    provisioned = set(re.findall(r"^    uid: (\S+)$", (GRAFANA / "provisioning/datasources/weir.yaml").read_text(), re.M))
    uids = [board["uid"] for board in dashboards()]
    for board in dashboards():
        for panel in panels_of(board):
            if problems := list(faults_of(panel)):
                wrong(name_of(board, panel), "; ".join(problems))
        problems = list(faults_of_board(board, provisioned, uids))
        judge(f"{board['title']}: as a dashboard should be", problems, f"{len(panels_of(board))} panels")


def check_compose(schema):
    """What docker compose would make of compose.yaml."""
    path = GRAFANA / "compose.yaml"
    environment = clean_environment()
    passwords = [f"WEIR_{name}_PASSWORD" for name in ("POSTGRES", "DATABASE", "READER", "GRAFANA")]
    done = run(schema, path, env=environment)
    missed = [name for name in passwords if f"variable {name} is missing" not in done.stderr]
    judge("compose.yaml asks for every password", [f"not for {name}" for name in missed])
    done = run(schema, path, env={**environment, **{name: "a-password" for name in passwords}})
    if done.returncode != 0:
        return wrong("compose.yaml", done.stderr.strip())
    project, problems = json.loads(done.stdout), []
    for name, service in project["services"].items():
        ends = any(other.get("depends_on", {}).get(name, {}).get("condition") == "service_completed_successfully"
                   for other in project["services"].values())
        if not ends and "healthcheck" not in service:
            problems.append(f"{name} has no health check")
        problems += [f"{name} listens on {port.get('host_ip', 'every address')}" for port in service.get("ports", [])
                     if port.get("host_ip") != "127.0.0.1"]
        problems += [f"{name} mounts {volume['source']}, which is not there" for volume in service.get("volumes", [])
                     if volume["type"] == "bind" and not pathlib.Path(volume["source"]).exists()]
        build = service.get("build")
        if build and not (pathlib.Path(build["context"]) / build["dockerfile"]).exists():
            problems.append(f"{name} is built from {build['dockerfile']}, which is not there")
        if "build" not in service and not re.search(r":v?\d", service["image"]):
            problems.append(f"{name} takes whatever version of {service['image']} there is")
    provisioning = "".join(path.read_text() for path in (GRAFANA / "provisioning").rglob("*.yaml"))
    told = project["services"]["grafana"]["environment"]
    problems += [f"grafana is not told {name}" for name in sorted(set(re.findall(r"\$\{(\w+)\}", provisioning)) - set(told))]
    return judge("compose.yaml", problems, f"{len(project['services'])} services")


def check_alerts(tests):
    """Each alert is tested both ways, and the runbook has a heading for it."""
    text = (GRAFANA / "rules/alerts.yml").read_text()
    alerts = re.split(r"^      - alert: ", text, flags=re.M)[1:]
    cases = [case for path in tests for case in re.split(r"^      - eval_time: ", path.read_text(), flags=re.M)[1:]]
    section = re.search(r"^## Alerts\n(.*?)(?=^## |\Z)", (ROOT / "docs/operations.md").read_text(), re.M | re.S)
    headings = re.findall(r"^### (\w+)$", section[1], re.M) if section else []
    names = [alert.split("\n", 1)[0] for alert in alerts]
    for name, alert in zip(names, alerts):
        of_it = [case for case in cases if re.search(rf"alertname: {name}$", case, re.M)]
        problems = []
        runbook = f"runbook_url: docs/operations.md#{name.lower()}$"
        for key in ("severity: (critical|warning)", "summary: ", "description: ", runbook):
            if not re.search(key, alert, re.M):
                problems.append(f"no {key.split(':')[0]}, or another one")
        if not any("exp_labels" in case for case in of_it):
            problems.append("no test has it firing")
        if all("exp_labels" in case for case in of_it):
            problems.append("no test has it silent")
        if name not in headings:
            problems.append("docs/operations.md has no heading for it under Alerts")
        judge(f"alert {name}", problems, f"{len(of_it)} cases")
    judge("no heading for an alert that is none", [heading for heading in headings if heading not in names])


def faults_of(panel):
    """What is missing in a panel, whatever it shows."""
    for key in ("title", "description", "datasource", "targets"):
        if not panel.get(key):
            yield f"no {key}"
    defaults = panel["fieldConfig"]["defaults"]
    if defaults.get("unit") not in UNITS:
        yield f"no unit that is known: {defaults.get('unit')}"
    for override in panel["fieldConfig"]["overrides"]:
        for change in override["properties"]:
            if change["id"] == "unit" and change["value"] not in UNITS:
                yield f"no unit that is known: {change['value']}"
    values = [step["value"] for step in defaults["thresholds"]["steps"]]
    if values[:1] != [None] or values[1:] != sorted(values[1:]):
        yield f"thresholds out of order: {values}"
    if panel["type"] == "timeseries" and not panel["options"]["legend"]["showLegend"]:
        yield "no legend"
    for target in panel["targets"]:
        if target["datasource"] != panel["datasource"]:
            yield f"query {target['refId']} asks another data source"
        if "expr" in target:
            yield from (f"query {target['refId']} {fault}" for fault in faults_of_query(target))


def faults_of_query(target):
    query = target["expr"]
    if not target["legendFormat"]:
        yield "has no legend"
    if any(span not in ("$__rate_interval", "$__range") for span in re.findall(r"\[([^\]]*)\]", query)):
        yield "has a range of its own"
    for name in names_in(query):
        for selector in re.findall(rf"\b{name}\b(\{{[^}}]*\}})?", query):
            if not ('job=~"$job"' in selector and 'instance=~"$instance"' in selector):
                yield f"asks {name} without the dashboard's variables"
        if name.endswith("_total") and not re.search(rf"\b(rate|increase)\({name}\{{", query):
            yield f"shows the counter {name} as it is"


def faults_of_board(board, provisioned, uids):
    sources = {f"${{{variable['name']}}}": variable["current"]["value"]
               for variable in board["templating"]["list"] if variable["type"] == "datasource"}
    for uid in sources.values():
        if uid not in provisioned:
            yield f"data source {uid} is not provisioned"
    for variable in board["templating"]["list"]:
        if not variable["label"]:
            yield f"${variable['name']} has no label"
        # 2: looked up again when the time range changes.
        wanted = {"multi": True, "includeAll": True, "allValue": ".+", "refresh": 2}
        if variable["type"] == "query" and any(variable[key] != value for key, value in wanted.items()):
            yield f"${variable['name']} is not {wanted}"
    if board["editable"]:
        yield "it can be edited, and what is changed is lost"
    for panel in panels_of(board):
        if panel["datasource"]["uid"] not in sources:
            yield f"{panel['title']} asks {panel['datasource']['uid']}, which is no variable"
    for link in board["links"]:
        if link["url"].rsplit("/", 1)[1] not in uids:
            yield f"a link to {link['url']}, which is no dashboard"
    for key in ("description", "time", "refresh", "tags"):
        if not board.get(key):
            yield f"no {key}"
    ids = [panel["id"] for panel in board["panels"]]
    if len(set(ids)) != len(ids):
        yield "panels share an id"
    taken = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            yield f"{panel['title']} is wider than the page"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if taken.setdefault((x, y), panel["title"]) != panel["title"]:
                    yield f"{panel['title']} lies over {taken[x, y]}"
                    return


def name_of(board, panel):
    return f"{board['title']} / {panel['title']}"
