"""Everything that asyncssh can do, one operation after the other."""

import asyncio
import contextlib
import logging
import os
import re
import stat
import subprocess

import asyncssh
from asyncssh.constants import MSG_REQUEST_FAILURE, MSG_REQUEST_SUCCESS, OPEN_UNKNOWN_CHANNEL_TYPE

from operations import MIB, PATIENCE, checksum, data, login, read, report, same, write

LOGIN = login()

# Servers bound the sessions of a connection; all of this many fit.
AT_A_TIME = 50


def connect(**options):
    known = f"[{LOGIN.host}]:{LOGIN.port} {options.pop('host_key', LOGIN.host_key)}\n"
    return asyncssh.connect(
        LOGIN.host,
        LOGIN.port,
        config=None,
        username=LOGIN.user,
        password=LOGIN.password,
        client_keys=[LOGIN.key] if LOGIN.key else None,
        agent_path=options.pop("agent_path", None),
        known_hosts=asyncssh.import_known_hosts(known),
        **options,
    )


async def other_host_key_is_refused(_):
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    try:
        async with connect(host_key=other):
            raise AssertionError("logged in")
    except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed):
        pass


async def streams_and_status(connection):
    done = await connection.run("echo out; echo err >&2; exit 7")
    same((done.stdout, done.stderr, done.exit_status), ("out\n", "err\n", 7))


async def megabytes_both_ways(connection):
    content = data(8 * MIB)
    done = await connection.run("tee /dev/stderr", input=content, encoding=None)
    same([checksum(it) for it in (done.stdout, done.stderr)], [checksum(content)] * 2)
    same(done.exit_status, 0)


async def killed_by_a_signal(connection):
    done = await connection.run("kill -USR1 $$")
    same(done.exit_signal[0], "USR1")
    same(done.exit_status, -1)


async def signal_is_delivered(connection):
    process = await connection.create_process("echo ready; exec sleep 1000")
    same(await process.stdout.readline(), "ready\n")
    process.send_signal("TERM")
    done = await process.wait()
    same(done.exit_signal[0], "TERM")


async def environment(connection):
    sent = {"FIRST": "one two", "SECOND": "ünï=cödé"}
    done = await connection.run('printf "%s|%s|%s" "$FIRST" "$SECOND" "$THIRD"', env=sent)
    same(done.stdout, "one two|ünï=cödé|")
    # It was that session's alone.
    done = await connection.run('printf "%s" "$FIRST"')
    same(done.stdout, "")


async def terminal(connection):
    modes = {asyncssh.PTY_ECHO: 0}
    options = {"term_type": "xterm-256color", "term_size": (80, 24), "term_modes": modes}
    async with connection.create_process(**options) as process:
        process.stdin.write("echo $TERM; stty size; echo done-$((6*7))\n")
        text = await process.stdout.readuntil("done-42")
        same(re.search("^xterm-256color\r?$", text, re.M) is not None, True)
        same(re.search("^24 80\r?$", text, re.M) is not None, True)
        same("echo $TERM" in text.replace("\x1b[?2004h", "").splitlines(), False)
        process.change_terminal_size(132, 50)
        process.stdin.write("stty size; echo done-$((6*8))\n")
        text = await process.stdout.readuntil("done-48")
        same(re.search("^50 132\r?$", text, re.M) is not None, True)
        process.stdin.write("exit 9\n")
        done = await process.wait()
    same(done.exit_status, 9)


async def hundred_commands(connection):
    room = asyncio.Semaphore(AT_A_TIME)

    async def one(number):
        async with room:
            return await connection.run(f"cat; echo {number} >&2; exit {number}", input=str(number))

    for number, done in enumerate(await asyncio.gather(*map(one, range(100)))):
        same((done.stdout, done.stderr, done.exit_status), (f"{number}", f"{number}\n", number))


async def keepalives_are_answered(connection):
    for name in (b"keepalive@openssh.com", b"keepalive@cloudfoundry.org"):
        kind, _ = await connection._make_global_request(name)
        same(kind in (MSG_REQUEST_SUCCESS, MSG_REQUEST_FAILURE), True)


async def unknown_global_request_is_refused(connection):
    kind, _ = await connection._make_global_request(b"unknown@example.com")
    same(kind, MSG_REQUEST_FAILURE)
    await streams_and_status(connection)


async def unknown_channel_type_is_refused(connection):
    channel = asyncssh.SSHTCPChannel(
        connection, asyncio.get_running_loop(), None, "strict", 2 * MIB, 32768
    )
    try:
        await channel._open(b"unknown@example.com")
        raise AssertionError("it was opened")
    except asyncssh.ChannelOpenError as error:
        same(error.code, OPEN_UNKNOWN_CHANNEL_TYPE)
    await streams_and_status(connection)


async def rekeying_during_a_transfer(_):
    exchanges = 0

    class Counter(logging.Handler):
        def emit(self, record):
            nonlocal exchanges
            exchanges += "Completed key exchange" in record.getMessage()

    counter, logger = Counter(), logging.getLogger("asyncssh")
    logger.addHandler(counter)
    logger.setLevel(logging.DEBUG)
    try:
        async with connect(rekey_bytes=MIB) as connection:
            await megabytes_both_ways(connection)
            await streams_and_status(connection)
    finally:
        logger.removeHandler(counter)
        logger.setLevel(logging.WARNING)
    # One for each MiB sent, but for those that were on their way meanwhile.
    same(exchanges >= 4, True)


async def sftp_transfer(connection):
    content = data(16 * MIB)
    here, there, back = map(LOGIN.path, ("transfer.here", "transfer.there", "transfer.back"))
    write(here, content)
    async with connection.start_sftp_client() as sftp:
        await sftp.put(here, there)
        same(checksum(read(there)), checksum(content))
        await sftp.get(there, back)
    same(checksum(read(back)), checksum(content))


async def sftp_directories(connection):
    top = LOGIN.path("directories")
    async with connection.start_sftp_client() as sftp:
        await sftp.mkdir(top)
        await sftp.mkdir(f"{top}/inside", asyncssh.SFTPAttrs(permissions=0o700))
        for number in range(300):
            write(f"{top}/file-{number}", b"x" * number)
        listed = {entry.filename: entry.attrs async for entry in sftp.scandir(top)}
        same(sorted(listed), sorted([".", "..", "inside"] + [f"file-{it}" for it in range(300)]))
        same(listed["file-299"].size, 299)
        same(stat.S_ISDIR(listed["inside"].permissions), True)
        same(stat.S_IMODE(os.stat(f"{top}/inside").st_mode), 0o700)
        await sftp.rmdir(f"{top}/inside")
        same(os.path.exists(f"{top}/inside"), False)
        try:
            await sftp.rmdir(top)
            raise AssertionError("removed with files in it")
        except asyncssh.SFTPFailure:
            pass
        same(await sftp.realpath(f"{top}/../directories/./"), top)


async def sftp_attributes(connection):
    path = LOGIN.path("attributes")
    write(path, b"0123456789")
    async with connection.start_sftp_client() as sftp:
        await sftp.chmod(path, 0o640)
        await sftp.utime(path, (1_000_000_000, 1_100_000_000))
        attributes, real = await sftp.stat(path), os.stat(path)
        same(stat.S_IMODE(real.st_mode), 0o640)
        same((int(real.st_atime), int(real.st_mtime)), (1_000_000_000, 1_100_000_000))
        same((attributes.atime, attributes.mtime), (1_000_000_000, 1_100_000_000))
        same((attributes.size, attributes.permissions), (10, real.st_mode))
        same((attributes.uid, attributes.gid), (real.st_uid, real.st_gid))
        await sftp.chown(path, real.st_uid, real.st_gid)
        async with sftp.open(path, "rb") as file:
            same((await file.stat()).size, 10)


def is_openssh(connection):
    return "OpenSSH" in connection.get_extra_info("server_version")


async def sftp_links(connection):
    file, link, broken, hard = map(LOGIN.path, ("target", "link", "broken", "hard"))
    write(file, b"content")
    async with connection.start_sftp_client() as sftp:
        for target, name in ((file, link), ("nowhere", broken)):
            # The specification and OpenSSH have these in different orders. asyncssh goes by the
            # name of the server, which is not OpenSSH's here; the daemon goes by OpenSSH, as the
            # one before it did.
            names = (target, name) if is_openssh(connection) else (name, target)
            await sftp.symlink(*names)
        same((os.readlink(link), os.readlink(broken)), (file, "nowhere"))
        same((await sftp.readlink(link), await sftp.readlink(broken)), (file, "nowhere"))
        same(stat.S_ISLNK((await sftp.lstat(link)).permissions), True)
        same(stat.S_ISREG((await sftp.stat(link)).permissions), True)
        same((await sftp.exists(broken), await sftp.lexists(broken)), (False, True))
        await sftp.link(file, hard)
        same(os.path.samefile(file, hard), True)
        await sftp.remove(link)
        same((os.path.lexists(link), os.path.exists(file)), (False, True))


async def sftp_renames(connection):
    first, second, third = map(LOGIN.path, ("first", "second", "third"))
    write(first, b"1")
    write(second, b"2")
    async with connection.start_sftp_client() as sftp:
        try:
            await sftp.rename(first, second)
            raise AssertionError("an existing file was replaced")
        except asyncssh.SFTPError:
            pass
        await sftp.rename(first, third)
        same((os.path.exists(first), read(third)), (False, b"1"))
        await sftp.posix_rename(third, second)
        same((os.path.exists(third), read(second)), (False, b"1"))


async def sftp_truncate_and_append(connection):
    path = LOGIN.path("truncate")
    async with connection.start_sftp_client() as sftp:
        async with sftp.open(path, "wb") as file:
            await file.write(b"0123456789")
            await file.fsync()
        await sftp.truncate(path, 4)
        same(read(path), b"0123")
        async with sftp.open(path, "ab") as file:
            await file.write(b"end")
        same(read(path), b"0123end")
        async with sftp.open(path, "r+b") as file:
            await file.seek(2)
            await file.write(b"xy")
            await file.truncate(6)
        same(read(path), b"01xyen")
        try:
            async with sftp.open(path, "xb"):
                raise AssertionError("created although it was there")
        except asyncssh.SFTPError:
            pass


async def sftp_file_system(connection):
    async with connection.start_sftp_client() as sftp:
        told, real = await sftp.statvfs(LOGIN.dir), os.statvfs(LOGIN.dir)
    same((told.bsize, told.blocks, told.files), (real.f_bsize, real.f_blocks, real.f_files))
    same(told.namemax, real.f_namemax)


async def sftp_odd_names(connection):
    names = [b"new\nline", b"not \xff\xfe UTF-8", " blanks \t".encode(), "ünïcödé".encode(), b"-rf *"]
    top = LOGIN.path("names").encode()
    async with connection.start_sftp_client(path_encoding=None) as sftp:
        await sftp.mkdir(top)
        for name in names:
            async with sftp.open(top + b"/" + name, "wb") as file:
                await file.write(name)
            same(read(top + b"/" + name), name)
        same(sorted(await sftp.listdir(top)), sorted([b".", b".."] + names))
        for name in names:
            await sftp.remove(top + b"/" + name)
    same(os.listdir(top), [])


async def sftp_errors(connection):
    file = LOGIN.path("plain")
    write(file, b"")
    missing = LOGIN.path("missing")
    async with connection.start_sftp_client() as sftp:
        for attempt in (
            sftp.stat(missing),
            sftp.listdir(missing),
            sftp.remove(missing),
            sftp.readlink(missing),
            sftp.open(missing, "rb"),
            sftp.rename(missing, file),
        ):
            try:
                await attempt
                raise AssertionError("no error")
            except asyncssh.SFTPNoSuchFile:
                pass
        # And goes on.
        same((await sftp.stat(file)).size, 0)


async def scp_both_ways(connection):
    content = data(MIB)
    tree, there, back = map(LOGIN.path, ("scp.tree", "scp.there", "scp.back"))
    os.makedirs(f"{tree}/inner")
    write(f"{tree}/inner/file", content)
    write(f"{tree}/empty", b"")
    os.utime(f"{tree}/empty", (1_000_000_000, 1_100_000_000))
    os.mkdir(there)
    os.mkdir(back)
    await asyncssh.scp(tree, (connection, there), recurse=True, preserve=True)
    await asyncssh.scp((connection, f"{there}/scp.tree"), back, recurse=True, preserve=True)
    for root in (f"{there}/scp.tree", f"{back}/scp.tree"):
        same(checksum(read(f"{root}/inner/file")), checksum(content))
        same(os.stat(f"{root}/empty").st_mtime, 1_100_000_000)
    try:
        await asyncssh.scp((connection, LOGIN.path("scp.missing")), back)
        raise AssertionError("copied what is not there")
    except asyncssh.SFTPError:
        pass


async def echo(reader, writer):
    """Answers when it has read everything: only a half-closed connection gets there."""
    content = await reader.read()
    writer.write(content[::-1])
    writer.write_eof()
    await writer.drain()
    writer.close()


async def talk(reader, writer, content):
    writer.write(content)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    same(checksum(answer), checksum(content[::-1]))


async def local_forward(connection):
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", port) as listener:
        for length in (0, 1, MIB):
            streams = await asyncio.open_connection("127.0.0.1", listener.get_port())
            await talk(*streams, data(length))


async def hundred_forwarded_connections(connection):
    server = await asyncio.start_server(echo, "localhost", 0, family=2)
    port = server.sockets[0].getsockname()[1]
    async with server:
        opened = [connection.open_connection("localhost", port) for _ in range(100)]
        # All are open before the first one is used.
        streams = await asyncio.gather(*opened)
        talks = [talk(*pair, data(10_000 + number)) for number, pair in enumerate(streams)]
        await asyncio.gather(*talks)


async def refused_forward_is_told(connection):
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    try:
        await connection.open_connection("127.0.0.1", port)
        raise AssertionError("it was opened")
    except asyncssh.ChannelOpenError as error:
        same(error.code, asyncssh.OPEN_CONNECT_FAILED)


async def remote_forward(connection):
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        listener = await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", port)
        for length in (0, 1, MIB):
            streams = await asyncio.open_connection("127.0.0.1", listener.get_port())
            await talk(*streams, data(length))
        listener.close()
        await listener.wait_closed()
        try:
            await asyncio.open_connection("127.0.0.1", listener.get_port())
            raise AssertionError("it still listens")
        except ConnectionRefusedError:
            pass


async def unix_local_forward(connection):
    path = LOGIN.path("unix.echo")
    server = await asyncio.start_unix_server(echo, path)
    async with server:
        await talk(*await connection.open_unix_connection(path), data(MIB))
        local = LOGIN.path("unix.local")
        async with connection.forward_local_path(local, path):
            await talk(*await asyncio.open_unix_connection(local), data(MIB))


async def unix_remote_forward(connection):
    echoing, path = LOGIN.path("unix.far-echo"), LOGIN.path("unix.remote")
    server = await asyncio.start_unix_server(echo, echoing)
    async with server:
        listener = await connection.forward_remote_path(path, echoing)
        await talk(*await asyncio.open_unix_connection(path), data(MIB))
        listener.close()
        await listener.wait_closed()
        try:
            await asyncio.open_unix_connection(path)
            raise AssertionError("it still listens")
        except (ConnectionRefusedError, FileNotFoundError):
            pass


@contextlib.contextmanager
def agent():
    """An agent with one key; gives where it listens and the key."""
    path, key = LOGIN.path("agent"), LOGIN.path("agent-key")
    command = ["ssh-agent", "-D", "-a", path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        # It tells where it listens once it does.
        process.stdout.readline()
        asyncssh.generate_private_key("ssh-ed25519", comment="lent").write_private_key(key)
        os.chmod(key, 0o600)
        environment = {"SSH_AUTH_SOCK": path, "PATH": os.environ["PATH"]}
        subprocess.run(["ssh-add", "-q", key], env=environment, check=True)
        listed = subprocess.run(["ssh-add", "-L"], env=environment, check=True, capture_output=True)
        yield path, listed.stdout.decode()
    finally:
        process.kill()
        process.wait()


async def agent_forwarding(_):
    with agent() as (path, key):
        async with connect(agent_path=path, agent_forwarding=True) as connection:
            done = await connection.run("ssh-add -L")
            same((done.stdout, done.stderr, done.exit_status), (key, "", 0))
        # Only who asks for it has it.
        async with connect() as connection:
            done = await connection.run('printf "%s" "$SSH_AUTH_SOCK"')
            same(done.stdout, "")


OPERATIONS = [
    other_host_key_is_refused,
    streams_and_status,
    megabytes_both_ways,
    killed_by_a_signal,
    signal_is_delivered,
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
    sftp_file_system,
    sftp_odd_names,
    sftp_errors,
    scp_both_ways,
    local_forward,
    hundred_forwarded_connections,
    refused_forward_is_told,
    remote_forward,
    unix_local_forward,
    unix_remote_forward,
    agent_forwarding,
]


async def main():
    # All on one connection but for those that need a special one; a new one only after a failure, so
    # that each operation is judged by itself.
    connection = None
    for operation in OPERATIONS:
        try:
            connection = connection or await connect()
            await within_patience(operation(connection))
            report(operation)
        except Exception as error:
            report(operation, error)
            if connection:
                connection.abort()
            connection = None
    if connection:
        connection.close()
        await connection.wait_closed()


async def within_patience(operation):
    task = asyncio.create_task(operation)
    done, _ = await asyncio.wait([task], timeout=PATIENCE)
    if not done:
        # Not waited for: what hangs may hang again when it is cancelled.
        task.cancel()
        raise TimeoutError("it hangs")
    task.result()


os.umask(0o022)
asyncio.get_event_loop_policy().new_event_loop().run_until_complete(main())
