"""What the scripts share that start a Weir: the program, servers that are gone at the end, a Weir of their own, PostgreSQL.

The Python counterpart of crates/testkit, and the only place where a script starts a Weir. A script finds it by

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))
    import testkit

and may do with it

    weir = testkit.Weir(testkit.built("--bin", "weir"), WEIR_LOG="warn").start()
    ...
    weir.drain()
    assert weir.stop() == 0

Nothing that an operator has set reaches a Weir of this kit: the variables WEIR_* are its own. What cannot be done ends the
script with a message (Failed); servers and directories are gone then, too.
"""

import atexit
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from signal import SIGKILL, SIGTERM

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
# What turns every throttle off.
UNTHROTTLED = {
    f"WEIR_THROTTLE__{route}": "0"
    for route in ("SESSION", "PAGEVIEW", "LEAVE", "HEARTBEAT", "BATCH", "TRACK", "CONSENT", "CONSENT_STATUS", "TRACK_INIT",
                  "AUTH_CODE", "AUTH_VERIFY")
}
# The line that a Weir prints once it accepts requests.
# `load-tests/against` also starts builds from before the word was changed.
ANNOUNCED = r"(?:serves|takes) requests at (http://\S+)\n"


class Failed(SystemExit):
    """What keeps a script from going on. Not caught, it ends the script with this message."""


def fail(message):
    raise Failed(f"{pathlib.Path(sys.argv[0]).name}: {message}")


# --- the program -------------------------------------------------------------------------------------------------------------


def cargo(*arguments, **options):
    # A shell that was not started by a login has not read the line that rustup adds to the profile.
    program = shutil.which("cargo") or pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo")) / "bin/cargo"
    try:
        return subprocess.run([program, *arguments], cwd=ROOT, check=True, text=True, **options)
    except FileNotFoundError:
        fail("needs cargo: install Rust, for example with rustup")
    except subprocess.CalledProcessError as error:
        fail(f"cargo {arguments[0]} failed with {error.returncode}")


def metadata():
    """What cargo knows of the workspace."""
    return json.loads(cargo("metadata", "--format-version", "1", "--no-deps", "--offline", stdout=subprocess.PIPE).stdout)


def built(*arguments, profile="debug"):
    """The program that `cargo build` makes with these arguments."""
    cargo("build", "--locked", *arguments)
    return pathlib.Path(metadata()["target_directory"]) / profile / "weir"


# --- servers -----------------------------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def clean_environment(**variables):
    """This script's environment without an operator's settings, which are for no Weir of this kit; and these variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
    return {**inherited, **{name: str(value) for name, value in variables.items() if value is not None}}


def cpu_seconds(pid):
    """User and system time of a process, its own threads only."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def family_cpu_seconds(leader):
    """The same of a process, its children, and those that it has waited for."""
    fields = pathlib.Path(f"/proc/{leader}/stat").read_text().rsplit(")", 1)[1].split()
    total = sum(int(fields[at]) for at in (11, 12, 13, 14)) / TICK
    for child in children(leader):
        with contextlib.suppress(FileNotFoundError):
            total += cpu_seconds(child)
    return total


def children(leader):
    return subprocess.run(["ps", "-o", "pid=", "--ppid", str(leader)], text=True, capture_output=True).stdout.split()


class Process:
    """A program that runs beside this script, and is gone with it.

    What it says goes to the file `log`, behind what earlier ones have said. With `own_group`, what it starts is ended along
    with it. `options` are those of subprocess.Popen.
    """

    running = []

    def __init__(self, command, log, *, own_group=False, **options):
        self.program, self.log = command[0], pathlib.Path(log)
        self.name, self.own_group = pathlib.Path(self.program).name, own_group
        self.earlier = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "a") as file:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=own_group, **options,
            )
        Process.running.append(self)

    @property
    def pid(self):
        return self.process.pid

    def runs(self):
        return self.process.poll() is None

    def text(self):
        """What it has said so far."""
        return self.log.read_bytes()[self.earlier:].decode(errors="replace")

    def wait_for(self, condition, what=None, seconds=60):
        """What a condition yields, once it is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.runs():
            if found := condition():
                return found
            time.sleep(0.02)
        fail(f"{what or f'{self.name} did not start'}:\n{self.text()[-3000:]}")

    def wait_for_line(self, pattern, seconds=60):
        """The first group of a pattern, once it has said something that fits."""
        return self.wait_for(lambda: re.search(pattern, self.text()), f"{self.name} never said {pattern}", seconds)[1]

    def wait_for_answer(self, url, statuses=(), seconds=60):
        """Waits until this URL is answered: with any status, or with one of these."""

        def answers():
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    status = answer.status
            except urllib.error.HTTPError as error:
                status = error.code
            except OSError:
                return False
            return not statuses or status in statuses

        self.wait_for(answers, seconds=seconds)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=None):
        return self.process.wait(seconds)

    def stop(self, how=SIGTERM, seconds=60):
        """Ends it with a signal and, when that takes too long, with SIGKILL. Returns its exit code: -9 then."""
        if self.runs():
            self.signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(seconds)
        self.kill()
        return self.process.returncode

    def kill(self):
        """SIGKILL, to its group when it has one of its own. Nothing happens to one that has ended."""
        if self in Process.running:
            Process.running.remove(self)
        if self.own_group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, SIGKILL)
        elif self.runs():
            self.process.kill()
        self.wait()

    def resident_mebibytes(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def end_all():
    """SIGKILL to every server that this script has started and not ended."""
    for process in list(Process.running):
        process.kill()


atexit.register(end_all)


class Weir:
    """A Weir on a random port, with a directory of its own, that can be ended and started again.

    On SQLite, unless it gets the URLs of two other databases. `directory` is one that stays; without it, there is a
    temporary one, which goes with `remove`, at the latest when the script ends. `settings` are environment variables; None
    leaves one out. `wrapper` is a command that runs it, such as valgrind.
    """

    def __init__(self, program, analytics=None, main=None, *, directory=None, config=None, wrapper=(), preexec=None, **settings):
        self.program = pathlib.Path(program).resolve()
        self.is_temporary = directory is None
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="weir-testkit."))
        self.log = self.directory / "weir.log"
        self.command_line = [*wrapper, self.program, *(["--config", config] if config else [])]
        self.preexec = preexec
        self.environment = clean_environment(**{
            "WEIR_LISTEN": "127.0.0.1:0",
            "WEIR_DATA_DIR": self.directory / "data",
            "WEIR_ANALYTICS_DATABASE_URL": analytics,
            "WEIR_MAIN_DATABASE_URL": main,
            **settings,
        })
        self.data = self.directory / self.environment["WEIR_DATA_DIR"]
        self.process = None
        atexit.register(self.remove)

    def start(self, ready=False, seconds=60):
        """Starts it, and waits until it accepts requests; with `ready`, until it calls itself ready, too."""
        self.process = Process(
            self.command_line, self.log, env=self.environment, cwd=self.directory, preexec_fn=self.preexec
        )
        self.url = self.process.wait_for_line(ANNOUNCED, seconds)
        self.address = self.url.removeprefix("http://")
        self.port = int(self.address.rsplit(":", 1)[1])
        # Whoever knows it by now finds it there after the next start.
        self.environment["WEIR_LISTEN"] = self.address
        # The lines about addresses have been printed when the one about signing in has.
        self.process.wait_for_line(r"\n +(sign-in) ", seconds)
        metrics = re.search(r"\n +metrics +(http://\S+)", self.process.text())
        self.metrics_url = metrics[1] if metrics else f"{self.url}/metrics"
        if ready:
            self.process.wait_for_answer(f"{self.url}/health/ready", (200,), seconds)
        return self

    def run(self, *arguments):
        """What a command of the same program prints, with the same settings."""
        done = subprocess.run(
            [self.program, *arguments], env=self.environment, cwd=self.directory, text=True, capture_output=True
        )
        if done.returncode != 0:
            fail(f"weir {arguments[0]} failed:\n{done.stderr}")
        return done.stdout.strip()

    def secret(self, name):
        """A secret that it was given, or made at its first start."""
        given = self.environment.get(f"WEIR_{name.upper()}")
        return given or re.search(rf'^{name} = "(.*)"$', (self.data / "secrets.toml").read_text(), re.MULTILINE)[1]

    def metrics(self):
        """Every series with its value."""
        with urllib.request.urlopen(self.metrics_url, timeout=30) as answer:
            text = answer.read().decode()
        return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}

    def lag(self):
        """How many records are acknowledged and not in their database yet."""
        return sum(value for name, value in self.metrics().items() if name.startswith("weir_writer_lag_records{"))

    def drain(self, seconds=120):
        """Waits until both databases have everything."""
        deadline = time.monotonic() + seconds
        while self.lag() > 0:
            if time.monotonic() > deadline:
                fail(f"the writers did not catch up within {seconds} s")
            time.sleep(0.05)

    def signal(self, number):
        self.process.signal(number)

    def kill(self):
        """SIGKILL, and waits until it is gone."""
        self.process.kill()

    def stop(self):
        """An orderly end. Returns the exit code."""
        if self.process.runs():
            self.process.signal(SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            fail("the server does not end after SIGTERM")

    def remove(self):
        """Ends it, however, and deletes its directory."""
        atexit.unregister(self.remove)
        if self.process:
            self.process.kill()
        if self.is_temporary:
            shutil.rmtree(self.directory, ignore_errors=True)


# --- PostgreSQL --------------------------------------------------------------------------------------------------------------


def with_postgres(script, durable=True):
    """Runs this script again under scripts/with-postgres, unless it runs there: with a cluster that waits for its disk, as one
    that dies or is measured must."""
    if "TEST_POSTGRES_DATA" in os.environ and (not durable or os.environ.get("TEST_POSTGRES_DURABLE") == "1"):
        return
    environment = {**os.environ, **({"TEST_POSTGRES_DURABLE": "1"} if durable else {})}
    sys.exit(subprocess.run([ROOT / "scripts/with-postgres", script, *sys.argv[1:]], env=environment).returncode)


def postgres_program(name):
    return pathlib.Path(os.environ["TEST_POSTGRES_BIN"]) / name


def psql(url, sql, *options):
    """What PostgreSQL answers: a line for each row, with a bar between columns unless the options say otherwise."""
    done = subprocess.run(
        [postgres_program("psql"), "-qAtX", *options, "-d", url, "-c", sql], text=True, capture_output=True
    )
    if done.returncode != 0:
        fail(f"psql failed: {done.stderr}")
    return done.stdout


def fresh_databases():
    """The URLs of two new databases: for analytics and for the rest."""
    server = os.environ["TEST_POSTGRES_URL"]
    names = [f"weir_{os.getpid()}_{time.monotonic_ns()}_{kind}" for kind in ("analytics", "main")]
    for name in names:
        psql(server, f"CREATE DATABASE {name}")
    return [server.rsplit("/", 1)[0] + "/" + name for name in names]


def drop_databases(*urls):
    for url in urls:
        psql(os.environ["TEST_POSTGRES_URL"], f"DROP DATABASE {url.rsplit('/', 1)[1]} WITH (FORCE)")


def postmaster():
    """The first process of PostgreSQL."""
    return int((pathlib.Path(os.environ["TEST_POSTGRES_DATA"]) / "postmaster.pid").read_text().split()[0])


def control_postgres(*arguments):
    """pg_ctl, as the user whose data it is."""
    data = pathlib.Path(os.environ["TEST_POSTGRES_DATA"])
    owner = data.stat()
    as_owner = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run(
        [postgres_program("pg_ctl"), *arguments, "-s", "-D", data], cwd="/", check=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **as_owner,
    )


def crash_postgres():
    """Its end without a checkpoint or a goodbye."""
    control_postgres("stop", "-m", "immediate")


def start_postgres():
    log = pathlib.Path(os.environ["TEST_POSTGRES_DATA"]).with_name("server.log")
    control_postgres("start", "-w", "-t", "60", "-l", log)


def signal_postgres(number):
    """A signal to all of its processes."""
    leader = postmaster()
    # The leader first, or it starts new ones while the others stop.
    for pid in [leader, *children(leader)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), number)


# --- reports -----------------------------------------------------------------------------------------------------------------


def table(head, rows):
    """A table in Markdown; all columns but the first are figures."""
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join("---" if at == 0 else "---:" for at in range(len(head))) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)
