"""What the Python tests of the server share: starting `nibble serve` on a free port, requests, and counted checks.

A test ends with `finish()`, which prints "N passed, N failed, N skipped" and exits.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
NIBBLE = os.environ.get("NIBBLE", os.path.join(ROOT, "build/release/nibble"))
DEMO = os.path.join(ROOT, "models/demo")
START_S = 60

counts = {"passed": 0, "failed": 0, "skipped": 0}


def check(what, ok, detail=""):
    counts["passed" if ok else "failed"] += 1
    if not ok:
        print(f"FAILED: {what} {detail}", flush=True)
    return ok


def skip(why):
    counts["skipped"] += 1
    print(f"skipped: {why}")


def finish():
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    sys.exit(counts["failed"] > 0)


def wait_until(condition, timeout_s, pause_s=0.05):
    """The condition's first true value, or its last one when the time is over."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(pause_s)


class Server:
    """`nibble serve CHECKPOINT OPTION...`; its log, on standard error, is kept. Used by `with`."""

    def __init__(self, *options, checkpoint=DEMO):
        self.log_file = tempfile.TemporaryFile()
        self.process = subprocess.Popen([NIBBLE, "serve", checkpoint, *options], stderr=self.log_file)
        ready = wait_until(lambda: re.search(r"ready .*port=(\d+)", self.log()) or self.process.poll(), START_S)
        if not isinstance(ready, re.Match):
            self.stop()
            raise RuntimeError("nibble serve did not start:\n" + self.log())
        self.port = int(ready.group(1))
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def log(self):
        size = os.fstat(self.log_file.fileno()).st_size
        return os.pread(self.log_file.fileno(), size, 0).decode(errors="replace")

    def stop(self):
        """Sends SIGTERM and gives the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=START_S)

    def request(self, path, body=None, timeout_s=60):
        """Status and text of an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.address}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def get(self, path):
        return self.request(path)

    def post(self, path, body):
        """Status and JSON of an answer."""
        status, text = self.request(path, body)
        return status, json.loads(text)

    def stream(self, path, body):
        """The chunks of a streamed answer, which must end as one does."""
        status, text = self.request(path, {**body, "stream": True})
        events = [event.removeprefix("data: ") for event in text.strip().split("\n\n")]
        if status != 200 or events.pop() != "[DONE]":
            raise RuntimeError(f"status {status}, not a whole stream:\n{text}")
        return [json.loads(event) for event in events]


def user(text):
    return [{"role": "user", "content": text}]


def sample(text, name, labels=""):
    """The value of a metric in Prometheus' text format; None when it is missing."""
    found = re.search(rf"^{re.escape(name)}(?:\{{[^}}\n]*{re.escape(labels)}[^}}\n]*\}})? (\S+)$", text, re.M)
    return float(found.group(1)) if found else None
