"""The stack that is looked at: what is sent to it through nginx, its partner, and its operator's commands."""

import json
import os
import re
import subprocess
import urllib.request

from webdriver import DIRECT, Failure

# What would run if a page let it.
HOSTILE = "<script>document.title='ran'</script>\"'><img src=x onerror=\"document.title='ran'\">"


class Sink:
    """A partner of our own; what it does is asked for by path."""

    def __init__(self, program):
        self.process = subprocess.Popen(
            [program, "sink", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        told = self.process.stdout.readline()
        self.address = re.match(r"listening on (\S+)", told).group(1)

    def close(self):
        """Ends it."""
        self.process.kill()
        self.process.wait()

    def ask(self, path):
        """What it answers."""
        with DIRECT.open(f"http://{self.address}{path}", timeout=30) as answer:
            return answer.read().decode()

    def counts(self):
        """What came so far."""
        return json.loads(self.ask("/__count"))


class Stack:
    """What scripts/browse has started; where it is, is in the environment."""

    def __init__(self):
        self.url = "http://" + os.environ["POSTBACK_LISTEN"]
        self.programs = os.environ["POSTBACK_BIN"]
        self.sink = Sink(os.path.join(self.programs, "postback-bench"))

    def close(self):
        """Ends what was started here."""
        self.sink.close()

    def send(self, path, rows, method="GET", ref="click-{n}", **policy):
        """One request of so many rows to the partner, through nginx; the ids of its postbacks."""
        url = path if path.startswith("http") else f"http://{self.sink.address}{path}"
        body = {
            "endpoint": {"method": method, "url": url + "?n={n}&x={x}", "headers": {"X-Click": "{ref}"}},
            "data": [{"n": n, "ref": ref.format(n=n)} for n in range(rows)],
            "policy": {"ref": "{ref}", **policy},
        }
        request = urllib.request.Request(
            self.url + "/ingest", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with DIRECT.open(request, timeout=30) as answer:
            batches = json.load(answer)["batches"]
        return [f"{b['id']}-{b['first'] + n}" for b in batches for n in range(b["rows"])]

    def page(self, path):
        """A page as JSON."""
        request = urllib.request.Request(self.url + path, headers={"Accept": "application/json"})
        with DIRECT.open(request, timeout=30) as answer:
            return json.load(answer)

    def command(self, *words):
        """What an operator's command answers, as JSON."""
        command = [os.path.join(self.programs, "postbackctl"), *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise Failure(f"postbackctl {' '.join(words)}: {done.stderr.strip()}")
        return json.loads(done.stdout)
