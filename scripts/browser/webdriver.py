"""A browser to drive: Chromium by chromedriver, over the WebDriver protocol (https://www.w3.org/TR/webdriver2/).

Only what scripts/browse needs, with Python's standard library alone. What a page must be is in checks.py."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
TAB = "\ue004"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb",
]
# No proxy of the environment is between us and the driver.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failure(Exception):
    """Something is not as it must be."""


def wait_for(what, condition, seconds=30):
    """What the condition gives once it is true; a failure after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.05)


class Browser:
    """One window of a Chromium of its own."""

    def __init__(self, log):
        self.profile = tempfile.mkdtemp(prefix="browse.")
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=log, text=True)
        self.address = self._address()
        self._session(log)

    def _address(self):
        for line in self.driver.stdout:
            if "started successfully on port" in line:
                return "http://127.0.0.1:" + line.split("port")[1].strip(" .\n")
        raise Failure("chromedriver did not start")

    def _session(self, log):
        options = {"args": ARGUMENTS + ["--user-data-dir=" + self.profile], "binary": shutil.which("chromium")}
        wanted = {
            "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"}, "pageLoadStrategy": "normal",
        }
        self.session = ""
        answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = "/session/" + answer["sessionId"]
        self._ask("POST", "/timeouts", {"pageLoad": 30000, "script": 30000})

    def _ask(self, method, path, body=None):
        data = None if method in ("GET", "DELETE") else json.dumps(body or {}).encode()
        request = urllib.request.Request(
            self.address + self.session + path, data=data, method=method,
            headers={"Content-Type": "application/json"})
        try:
            with DIRECT.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            told = json.load(error)["value"]
            raise Failure(f"{method} {path}: {told['error']}: {told['message'].splitlines()[0]}") from None

    def close(self):
        """Ends the browser and its driver."""
        try:
            self._ask("DELETE", "")
        except (Failure, OSError):
            pass
        self.driver.terminate()
        self.driver.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def open(self, url):
        """Goes to an address and waits until it has loaded."""
        self._ask("POST", "/url", {"url": url})

    def url(self):
        """Where it is."""
        return self._ask("GET", "/url")

    def title(self):
        """The page's title."""
        return self._ask("GET", "/title")

    def run(self, script, *args):
        """What a script, a function's body, returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(args)})

    def devtools(self, command, **params):
        """A command of the Chrome DevTools protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def find(self, css):
        """The first element that matches, or None."""
        found = self._ask("POST", "/elements", {"using": "css selector", "value": css})
        return found[0][ELEMENT] if found else None

    def link(self, text):
        """The first link with this text, or None."""
        found = self._ask("POST", "/elements", {"using": "link text", "value": text})
        return found[0][ELEMENT] if found else None

    def click(self, element):
        """Clicks, as a mouse does: on what can be seen and is not covered."""
        self._ask("POST", f"/element/{element}/click")

    def type(self, element, text):
        """Types into a field."""
        self._ask("POST", f"/element/{element}/value", {"text": text})

    def press(self, key, times=1):
        """Presses and lets go of a key so many times, wherever the focus is."""
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}] * times
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self._ask("POST", "/actions", {"actions": [keyboard]})

    def text(self, css="main"):
        """The text that is seen of an element."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", css)

    def console(self):
        """What the console was told since it was last asked."""
        return self._ask("POST", "/se/log", {"type": "browser"})

    def look(self, width, height, scheme):
        """Sets the size of the window's inside and light or dark."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=width < 600)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path):
        """Saves the whole page as PNG."""
        # A page that has loaded may not have been laid out yet: it has no size then.
        until = time.monotonic() + 10
        while True:
            size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
            if size["width"] > 0 or time.monotonic() > until:
                break
            time.sleep(0.02)
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 4000), "scale": 1}
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))
