"""What every part of grafana/check says, and how it ends."""

import pathlib
import subprocess
import sys

GRAFANA = pathlib.Path(__file__).resolve().parent.parent
ROOT = GRAFANA.parent
sys.path.insert(0, str(ROOT / "scripts"))
from testkit import fail  # noqa: E402

checked, failed = 0, []


def passed(what, detail=""):
    global checked
    checked += 1
    print(f"ok    {what}" + (f": {detail}" if detail else ""), flush=True)


def wrong(what, detail):
    global checked
    checked += 1
    failed.append(what)
    print(f"WRONG {what}: {detail}", flush=True)


def judge(what, problems, detail=""):
    if problems:
        wrong(what, "; ".join(str(problem) for problem in problems))
    else:
        passed(what, detail)


def finish(seconds):
    print(f"\n{checked - len(failed)} passed, {len(failed)} failed, in {seconds:.0f} s")
    for what in failed:
        print(f"  {what}")
    sys.exit(1 if failed else 0)


def run(*command, **options):
    return subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)


def run_well(*command, **options):
    done = run(*command, **options)
    if done.returncode != 0:
        fail(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
