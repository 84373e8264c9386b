"""Figures of a measurement: one shape for what is printed, for what is kept as JSON and for docs/performance.md.

A results file has parts, each with the run that made it:

    {"parts": {"intake": {"run": {"command", "date", "commit", "machine"}, "figures": [...]}}}

A figure has
    what     what was measured
    unit     of its values
    values   by name, such as {"Weir": 91901} or {"p50": 2.09, "p99": 4.19}
    spread   the lowest and the highest of some of them, or of "ratio"
    beside   what it is compared with, by name
    ratio    Weir by what is beside it
    targets  by the name of a value, or of "ratio"
    better   "higher" or "lower"; a target that is missed is bold
    in_table false for what docs/performance.md does not show
All but the first three are left out where there are none.

`write` replaces the parts that were run and keeps the others, so a results file may be made by several commands.
"""

import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DECIMALS = {"µs": 1, "ms": 2, "s": 2, "MiB": 1, "": 2}
TITLES = {
    "intake": "Intake alone: acknowledged and durable, the databases away",
    "cpu": "CPU of a stored session",
    "sustained": "Everything running, 256 connections",
    "latency": "Constant rate, 256 connections, PostgreSQL, from when a request was due",
    "baseline": "NestJS and Prisma, one awaited INSERT a request, one process",
}


def rounded(value, unit):
    """As many decimals as the unit is worth. What is beyond all bounds has no figure."""
    if value in (None, float("inf")):
        return None
    return round(value, DECIMALS[unit]) if unit in DECIMALS else round(value)


def figure(what, unit, values, beside=None, ratio=None, targets=None, better="higher"):
    """A figure of values by name. A list of several runs becomes its median, with the lowest and the highest."""
    made = {"what": what, "unit": unit, "values": {}}
    spread = {}

    def one(name, value, of):
        if isinstance(value, list):
            if len(value) > 1:
                spread[name] = [rounded(of_all(value), of) for of_all in (min, max)]
            value = statistics.median(value)
        return rounded(value, of)

    made["values"] = {name: one(name, value, unit) for name, value in values.items()}
    if beside:
        made["beside"] = {name: one(name, value, unit) for name, value in beside.items()}
    if ratio is not None:
        made["ratio"] = one("ratio", ratio, "")
    if spread:
        made["spread"] = spread
    if targets:
        made |= {"targets": targets, "better": better}
    return made


# --- files ------------------------------------------------------------------------------------------------------------


def this_run(words=None):
    """What made the figures: this command, now, here."""
    said = lambda *command: subprocess.run(command, cwd=ROOT, text=True, capture_output=True).stdout.strip()
    found = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    # New figures are no change of what was measured.
    changed = said("git", "status", "-s", "--", ".", ":!load-tests/results", ":!docs")
    server = os.environ.get("TEST_POSTGRES_URL")
    server = server and "PostgreSQL " + said(
        pathlib.Path(os.environ["TEST_POSTGRES_BIN"]) / "psql", "-Atc", "SHOW server_version", server
    ).partition(" ")[0]
    machine = [f"{os.cpu_count()} cores", found and found[1], f"Linux {platform.release()}", server, words]
    return {
        "command": " ".join([f"load-tests/{pathlib.Path(sys.argv[0]).name}", *without_json(sys.argv[1:])]),
        "date": datetime.date.today().isoformat(),
        "commit": said("git", "rev-parse", "--short", "HEAD") + (" changed" if changed else ""),
        "machine": ", ".join(part for part in machine if part),
    }


def without_json(arguments):
    """A command without where its figures go and what is said of its machine."""
    kept, skips = [], False
    for argument in arguments:
        if skips:
            skips = False
        elif argument in ("--json", "--machine"):
            skips = True
        elif not argument.startswith(("--json=", "--machine=")):
            kept.append(argument)
    return kept


def options_of(parser):
    parser.add_argument("--json", metavar="FILE", help="write the figures there; other parts of it stay")
    parser.add_argument("--machine", metavar="WORDS", help="what else is to be known of this machine")


def write(options, parts):
    """Puts the figures of these parts into the file that was asked for."""
    if not options.json:
        return
    path = pathlib.Path(options.json)
    kept = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    run = this_run(options.machine)
    for name, figures in parts.items():
        kept["parts"][name] = {"run": run, "figures": figures}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


# --- tables -----------------------------------------------------------------------------------------------------------


def number(value, decimals=None):
    if value is None:
        return "over the last bound"
    return f"{value:,}" if decimals is None else f"{value:.{decimals}f}"


def misses(made, name, value):
    target = made.get("targets", {}).get(name)
    if target is None:
        return False
    if value is None:
        return made["better"] == "lower"
    return value > target if made["better"] == "lower" else value < target


def cell(made, values, with_spread):
    """Values with their names, unless there is one of them; a missed target is bold."""
    shown = []
    for name, value in values.items():
        text = number(value)
        if misses(made, name, value):
            text = f"**{text}**"
        if with_spread and name in made.get("spread", {}):
            text += " ({}–{})".format(*map(number, made["spread"][name]))
        shown.append(f"{name} {text}" if len(values) > 1 else text)
    return ", ".join(shown)


def ratio_cell(made, with_spread):
    if "ratio" not in made:
        return ""
    text = number(made["ratio"], 2)
    if misses(made, "ratio", made["ratio"]):
        text = f"**{text}**"
    if with_spread and "ratio" in made.get("spread", {}):
        text += " ({}–{})".format(*(number(bound, 2) for bound in made["spread"]["ratio"]))
    return text


def target_cell(made):
    targets = made.get("targets", {})
    if not targets:
        return ""
    if list(targets) == ["ratio"]:
        return number(targets["ratio"], 2)
    if len(set(targets.values())) == 1:
        return ("each " if len(targets) > 1 else "") + number(next(iter(targets.values())))
    return ", ".join(map(number, targets.values()))


def markdown(figures, with_spread=True, marks=None):
    """Figures as a table. `marks` has a word for the last column of each, such as the letter of its run."""
    head = ["", "Weir", "beside", "ratio", "target"] + (["run"] if marks else [])
    lines = [head]
    for at, made in enumerate(figures):
        lines.append([
            f"{made['what']}, {made['unit']}" if made["unit"] else made["what"],
            cell(made, made["values"], with_spread), cell(made, made.get("beside", {}), with_spread),
            ratio_cell(made, with_spread), target_cell(made), *([marks[at]] if marks else []),
        ])
    rows = ["|" + "|".join(f" {text} " if text else " " for text in line) + "|" for line in lines]
    rows.insert(1, "|---|" + "---:|" * (len(head) - 1))
    return "\n".join(rows)


def show(part, figures):
    """A part as soon as it is measured."""
    print(f"{TITLES.get(part, part)}\n\n{markdown(figures)}\n", flush=True)
