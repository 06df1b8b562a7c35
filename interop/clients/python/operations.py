"""What the Python clients share: where to log in, and how they tell about each operation.

A client takes one argument, a JSON file: host, port, user, host_key (as in authorized_keys), either
password or key (a file), and dir, an empty directory that both ends see. For each operation it
prints a line "NAME: ok" or "NAME: failed: REASON". The tests know the names.
"""

import hashlib
import json
import os
import random
import sys
import traceback

# An operation that is not done by then hangs. The slowest takes seconds, even on a busy machine.
PATIENCE = 50

MIB = 1024 * 1024


class Login:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            fields = json.load(file)
        self.host = fields["host"]
        self.port = fields["port"]
        self.user = fields["user"]
        self.host_key = fields["host_key"]
        self.password = fields.get("password")
        self.key = fields.get("key")
        self.dir = fields["dir"]

    def path(self, name):
        """A path for one operation's own file or directory."""
        return os.path.join(self.dir, name)


def login():
    return Login(sys.argv[1])


def report(operation, error=None):
    name = operation.__name__
    if error is None:
        line = f"{name}: ok"
    else:
        traceback.print_exception(error)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        line = f"{name}: failed: {reason}"
    print(line, flush=True)


def data(length):
    """The same bytes each time, which do not repeat."""
    return random.Random(length).randbytes(length)


def checksum(content):
    return hashlib.sha256(content).hexdigest()


def same(got, wanted):
    """Like assert, but tells lengths where the texts are long."""
    if got != wanted:
        texts = [repr(it) for it in (got, wanted)]
        short = [it if len(it) < 200 else f"{it[:100]}... of {len(it)}" for it in texts]
        raise AssertionError(f"{short[0]} instead of {short[1]}")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)
