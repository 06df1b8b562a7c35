"""A page in headless Chromium, driven over the pipe of its DevTools protocol.

    browser.py CHROMIUM URL

Reads requests, one line of JSON each, and answers each with one: {"evaluate": EXPRESSION} with the value
of a JavaScript expression, {"screenshot": PATH} with null. Ends with its input, and the browser with it.
"""

import base64
import fcntl
import json
import os
import subprocess
import sys
import tempfile

# The descriptors that Chromium reads from and writes to.
TO_BROWSER, FROM_BROWSER = 3, 4

FLAGS = [
    "--headless",
    "--remote-debugging-pipe",
    # Tests run as root, in containers too; what is shown is ours.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--window-size=1280,560",
]


class Browser:
    """One Chromium with one page."""

    def __init__(self, program, directory):
        down, self.requests = os.pipe()
        self.answers, up = os.pipe()
        # Out of the way of the two numbers.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (down, up)]

        def take_places():
            os.dup2(ends[0], TO_BROWSER)
            os.dup2(ends[1], FROM_BROWSER)

        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={directory}"],
            stdin=subprocess.DEVNULL,
            preexec_fn=take_places,
            pass_fds=(TO_BROWSER, FROM_BROWSER),
        )
        for end in (down, up, *ends):
            os.close(end)
        self.buffer = b""
        self.count = 0
        self.session = None

    def open(self, url):
        target = self.call("Target.createTarget", url=url)["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]

    def call(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self._send(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._receive())
            if answer.get("id") == self.count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def evaluate(self, expression):
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def screenshot(self, path):
        shot = self.call("Page.captureScreenshot", format="png")
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def close(self):
        self.session = None
        self.call("Browser.close")
        self.process.wait()

    def _send(self, message):
        while message:
            message = message[os.write(self.requests, message) :]

    def _receive(self):
        while b"\0" not in self.buffer:
            piece = os.read(self.answers, 1 << 16)
            if not piece:
                raise RuntimeError("the browser has gone away")
            self.buffer += piece
        message, _, self.buffer = self.buffer.partition(b"\0")
        return message


def main():
    program, url = sys.argv[1:]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        browser = Browser(program, directory)
        browser.open(url)
        for line in sys.stdin:
            request = json.loads(line)
            if "evaluate" in request:
                answer = browser.evaluate(request["evaluate"])
            else:
                answer = browser.screenshot(request["screenshot"])
            print(json.dumps(answer), flush=True)
        browser.close()


main()
