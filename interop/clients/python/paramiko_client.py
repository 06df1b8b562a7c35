"""Everything that paramiko can do, one operation after the other."""

import concurrent.futures
import os
import signal
import socket
import stat
import threading

import paramiko

from operations import MIB, PATIENCE, checksum, data, login, read, report, same, write

LOGIN = login()

# Servers bound the sessions of a connection; all of this many fit.
AT_A_TIME = 50

OPEN_CONNECT_FAILED = 2
OPEN_UNKNOWN_CHANNEL_TYPE = 3


def connect(host_key=None):
    name, blob = (host_key or LOGIN.host_key).split()[:2]
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    entry = paramiko.hostkeys.HostKeyEntry.from_line(f"[{LOGIN.host}]:{LOGIN.port} {name} {blob}")
    client.get_host_keys().add(entry.hostnames[0], name, entry.key)
    client.connect(
        LOGIN.host,
        LOGIN.port,
        LOGIN.user,
        password=LOGIN.password,
        key_filename=LOGIN.key,
        allow_agent=False,
        look_for_keys=False,
    )
    return client


def run(client, command, content=b"", environment=None):
    """Standard output, standard error and status of a command with this input."""
    channel = client.get_transport().open_session()
    if environment:
        channel.update_environment(environment)
    channel.exec_command(command)
    collected = {}

    def collect(name, receive):
        collected[name] = b"".join(iter(lambda: receive(65536), b""))

    readers = [
        threading.Thread(target=collect, args=it, daemon=True)
        for it in (("stdout", channel.recv), ("stderr", channel.recv_stderr))
    ]
    for reader in readers:
        reader.start()
    channel.sendall(content)
    channel.shutdown_write()
    for reader in readers:
        reader.join()
    status = channel.recv_exit_status()
    channel.close()
    return collected["stdout"], collected["stderr"], status


def other_host_key_is_refused(_):
    other = paramiko.RSAKey.generate(2048)
    name = LOGIN.host_key.split()[0]
    if name != "ssh-rsa":
        other = paramiko.ECDSAKey.generate()
    try:
        connect(f"{other.get_name()} {other.get_base64()}").close()
        raise AssertionError("logged in")
    except paramiko.SSHException:
        pass


def streams_and_status(client):
    same(run(client, "echo out; echo err >&2; exit 7"), (b"out\n", b"err\n", 7))


def megabytes_both_ways(client):
    content = data(8 * MIB)
    stdout, stderr, status = run(client, "tee /dev/stderr", content)
    same((checksum(stdout), checksum(stderr), status), (checksum(content), checksum(content), 0))


def killed_by_a_signal(client):
    # It does not tell which one.
    same(run(client, "kill -USR1 $$"), (b"", b"", -1))


def environment(client):
    sent = {"FIRST": "one two", "SECOND": "ünï=cödé"}
    stdout, _, _ = run(client, 'printf "%s|%s" "$FIRST" "$SECOND"', environment=sent)
    same(stdout.decode(), "one two|ünï=cödé")
    same(run(client, 'printf "%s" "$FIRST"')[0], b"")


def terminal(client):
    channel = client.get_transport().open_session()
    channel.get_pty("xterm-256color", 80, 24)
    channel.invoke_shell()
    stream = channel.makefile("r")

    def answers(command, mark):
        channel.sendall(f"{command}; echo done-$(({mark}))\n".encode())
        done = f"done-{eval(mark)}".encode()
        lines = []
        while done not in (lines or [b""])[-1]:
            line = stream.readline()
            if not line:
                raise EOFError(f"after {lines}")
            lines.append(line.encode() if isinstance(line, str) else line)
        # A shell may put sequences for the terminal before a line.
        ends = (b"xterm-256color", b"24 80", b"50 132")
        return [end for line in lines for end in ends if line.strip().endswith(end)]

    same(answers("echo $TERM; stty size", "6*7"), [b"xterm-256color", b"24 80"])
    channel.resize_pty(132, 50)
    same(answers("stty size", "6*8"), [b"50 132"])
    channel.sendall(b"exit 9\n")
    same(channel.recv_exit_status(), 9)
    channel.close()


def hundred_commands(client):
    def one(number):
        text = str(number).encode()
        same(run(client, f"cat; echo {number} >&2; exit {number}", text), (text, text + b"\n", number))

    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(one, range(100)))


def keepalives_are_answered(client):
    transport = client.get_transport()
    for name in ("keepalive@openssh.com", "keepalive@cloudfoundry.org"):
        # The answer may be yes or no; without one this waits for ever.
        transport.global_request(name, wait=True)
        same(transport.is_active(), True)


def unknown_global_request_is_refused(client):
    same(client.get_transport().global_request("unknown@example.com", wait=True), None)
    streams_and_status(client)


def unknown_channel_type_is_refused(client):
    try:
        client.get_transport().open_channel("unknown@example.com")
        raise AssertionError("it was opened")
    except paramiko.ChannelException as error:
        same(error.code, OPEN_UNKNOWN_CHANNEL_TYPE)
    streams_and_status(client)


def rekeying_during_a_transfer(_):
    content = data(16 * MIB)
    path = LOGIN.path("rekey")
    write(path, content)
    with connect() as client, concurrent.futures.ThreadPoolExecutor(1) as pool:
        transport = client.get_transport()
        channel = transport.open_session()
        # The channel stays open until there is no rekeying any more: paramiko would answer a CLOSE
        # on the thread that its key exchange needs.
        channel.exec_command(f"cat {path}; exec cat >/dev/null")
        transfer = pool.submit(channel.makefile("rb").read, len(content))
        exchanges = 0
        while not transfer.done():
            transport.renegotiate_keys()
            exchanges += 1
        same(checksum(transfer.result()), checksum(content))
        same(exchanges > 0, True)
        channel.shutdown_write()
        same(channel.recv_exit_status(), 0)
        streams_and_status(client)


def sftp_transfer(client):
    content = data(16 * MIB)
    here, there, back = map(LOGIN.path, ("transfer.here", "transfer.there", "transfer.back"))
    write(here, content)
    with client.open_sftp() as sftp:
        # Both look at the size when they are done.
        sftp.put(here, there)
        same(checksum(read(there)), checksum(content))
        sftp.get(there, back)
    same(checksum(read(back)), checksum(content))


def sftp_directories(client):
    top = LOGIN.path("directories")
    with client.open_sftp() as sftp:
        sftp.mkdir(top)
        sftp.mkdir(f"{top}/inside", 0o700)
        for number in range(300):
            write(f"{top}/file-{number}", b"x" * number)
        listed = {entry.filename: entry for entry in sftp.listdir_attr(top)}
        same(sorted(listed), sorted(["inside"] + [f"file-{it}" for it in range(300)]))
        same(listed["file-299"].st_size, 299)
        same(stat.S_ISDIR(listed["inside"].st_mode), True)
        # As ls -l has it, to be shown to people.
        same(listed["inside"].longname[:10], "drwx------")
        same(sorted(entry.filename for entry in sftp.listdir_iter(top)), sorted(listed))
        sftp.rmdir(f"{top}/inside")
        same(os.path.exists(f"{top}/inside"), False)
        try:
            sftp.rmdir(top)
            raise AssertionError("removed with files in it")
        except OSError:
            pass
        same(sftp.normalize(f"{top}/../directories/./"), top)
        sftp.chdir(top)
        same(sftp.stat("file-299").st_size, 299)


def sftp_attributes(client):
    path = LOGIN.path("attributes")
    write(path, b"0123456789")
    with client.open_sftp() as sftp:
        sftp.chmod(path, 0o640)
        sftp.utime(path, (1_000_000_000, 1_100_000_000))
        told, real = sftp.stat(path), os.stat(path)
        same(stat.S_IMODE(real.st_mode), 0o640)
        same((int(real.st_atime), int(real.st_mtime)), (1_000_000_000, 1_100_000_000))
        same((told.st_atime, told.st_mtime), (1_000_000_000, 1_100_000_000))
        same((told.st_size, told.st_mode), (10, real.st_mode))
        same((told.st_uid, told.st_gid), (real.st_uid, real.st_gid))
        sftp.chown(path, real.st_uid, real.st_gid)
        with sftp.open(path) as file:
            same(file.stat().st_size, 10)
            file.chmod(0o600)
        same(stat.S_IMODE(os.stat(path).st_mode), 0o600)


def sftp_links(client):
    file, link = LOGIN.path("target"), LOGIN.path("link")
    write(file, b"content")
    with client.open_sftp() as sftp:
        sftp.symlink(file, link)
        same((os.readlink(link), sftp.readlink(link)), (file, file))
        same(stat.S_ISLNK(sftp.lstat(link).st_mode), True)
        same(stat.S_ISREG(sftp.stat(link).st_mode), True)
        sftp.remove(link)
        same((os.path.lexists(link), os.path.exists(file)), (False, True))


def sftp_renames(client):
    first, second, third = map(LOGIN.path, ("first", "second", "third"))
    write(first, b"1")
    write(second, b"2")
    with client.open_sftp() as sftp:
        try:
            sftp.rename(first, second)
            raise AssertionError("an existing file was replaced")
        except OSError:
            pass
        sftp.rename(first, third)
        same((os.path.exists(first), read(third)), (False, b"1"))
        sftp.posix_rename(third, second)
        same((os.path.exists(third), read(second)), (False, b"1"))


def sftp_truncate_and_append(client):
    path = LOGIN.path("truncate")
    with client.open_sftp() as sftp:
        with sftp.open(path, "w") as file:
            file.write(b"0123456789")
        sftp.truncate(path, 4)
        same(read(path), b"0123")
        with sftp.open(path, "a") as file:
            file.write(b"end")
        same(read(path), b"0123end")
        with sftp.open(path, "r+") as file:
            file.seek(2)
            file.write(b"xy")
            file.truncate(6)
        same(read(path), b"01xyen")
        with sftp.open(path) as file:
            same(file.readv([(1, 2), (0, 1), (4, 2)]).__class__.__name__, "generator")
            same(list(file.readv([(1, 2), (0, 1), (4, 2)])), [b"1x", b"0", b"en"])
        try:
            with sftp.open(path, "x"):
                raise AssertionError("created although it was there")
        except OSError:
            pass


def sftp_odd_names(client):
    names = ["new\nline", " blanks \t", "ünïcödé", "-rf *"]
    top = LOGIN.path("names")
    with client.open_sftp() as sftp:
        sftp.mkdir(top)
        for name in names:
            with sftp.open(f"{top}/{name}", "w") as file:
                file.write(name)
            same(read(f"{top}/{name}"), name.encode())
        same(sorted(sftp.listdir(top)), sorted(names))
        for name in names:
            sftp.remove(f"{top}/{name}")
    same(os.listdir(top), [])


def sftp_errors(client):
    file, missing = LOGIN.path("plain"), LOGIN.path("missing")
    write(file, b"")
    with client.open_sftp() as sftp:
        for attempt in (sftp.stat, sftp.listdir, sftp.remove, sftp.readlink, sftp.open):
            try:
                attempt(missing)
                raise AssertionError("no error")
            except FileNotFoundError:
                pass
        # And goes on.
        same(sftp.stat(file).st_size, 0)


def listen(address=("127.0.0.1", 0)):
    """A server that answers when it has read everything: only a half-closed connection gets there."""
    server = socket.create_server(address)

    def echo(stream):
        with stream:
            stream.sendall(receive_all(stream)[::-1])

    def accept():
        try:
            while True:
                stream, _ = server.accept()
                threading.Thread(target=echo, args=(stream,), daemon=True).start()
        except OSError:
            pass

    threading.Thread(target=accept, daemon=True).start()
    return server


def receive_all(stream):
    return b"".join(iter(lambda: stream.recv(65536), b""))


def talk(channel, content):
    channel.sendall(content)
    channel.shutdown(socket.SHUT_WR)
    same(checksum(receive_all(channel)), checksum(content[::-1]))
    channel.close()


def direct(client, server):
    origin = ("127.0.0.1", 1)
    return client.get_transport().open_channel("direct-tcpip", server.getsockname(), origin)


def local_forward(client):
    with listen() as server:
        for length in (0, 1, MIB):
            talk(direct(client, server), data(length))


def hundred_forwarded_connections(client):
    with listen() as server, concurrent.futures.ThreadPoolExecutor(100) as pool:
        # All are open before the first one is used.
        channels = list(pool.map(lambda _: direct(client, server), range(100)))
        list(pool.map(talk, channels, map(data, range(10_000, 10_100))))


def refused_forward_is_told(client):
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    server.close()
    try:
        client.get_transport().open_channel("direct-tcpip", address, ("127.0.0.1", 1))
        raise AssertionError("it was opened")
    except paramiko.ChannelException as error:
        same(error.code, OPEN_CONNECT_FAILED)


def remote_forward(client):
    transport = client.get_transport()
    port = transport.request_port_forward("127.0.0.1", 0)
    for length in (0, 1, MIB):
        with socket.create_connection(("127.0.0.1", port)) as stream:
            channel = transport.accept(PATIENCE)
            same(channel.origin_addr, stream.getsockname())
            content = data(length)
            # From the far end to this one, and back.
            sender = threading.Thread(target=talk, args=(stream, content), daemon=True)
            sender.start()
            got = receive_all(channel)
            same(checksum(got), checksum(content))
            channel.sendall(got[::-1])
            channel.close()
            sender.join()
    transport.cancel_port_forward("127.0.0.1", port)
    try:
        socket.create_connection(("127.0.0.1", port))
        raise AssertionError("it still listens")
    except ConnectionRefusedError:
        pass


OPERATIONS = [
    other_host_key_is_refused,
    streams_and_status,
    megabytes_both_ways,
    killed_by_a_signal,
    environment,
    terminal,
    hundred_commands,
    keepalives_are_answered,
    unknown_global_request_is_refused,
    unknown_channel_type_is_refused,
    rekeying_during_a_transfer,
    sftp_transfer,
    sftp_directories,
    sftp_attributes,
    sftp_links,
    sftp_renames,
    sftp_truncate_and_append,
    sftp_odd_names,
    sftp_errors,
    local_forward,
    hundred_forwarded_connections,
    refused_forward_is_told,
    remote_forward,
]


def hangs(*_):
    raise TimeoutError("it hangs")


def main():
    # All on one connection but for those that need a special one; a new one only after a failure, so
    # that each operation is judged by itself.
    client = None
    signal.signal(signal.SIGALRM, hangs)
    for operation in OPERATIONS:
        try:
            signal.alarm(PATIENCE)
            client = client or connect()
            operation(client)
            report(operation)
        except Exception as error:
            report(operation, error)
            if client:
                client.get_transport().sock.close()
            client = None
        finally:
            signal.alarm(0)
    # Threads that hang are not waited for.
    os._exit(0)


os.umask(0o022)
main()
