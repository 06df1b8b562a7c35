// Everything that ssh2 for Node.js can do, one operation after the other.
//
// Takes two arguments: the directory that has ssh2 in its node_modules, and a JSON file with host,
// port, user, host_key (as in authorized_keys), either password or key (a file), and dir, an empty
// directory that both ends see. For each operation it prints "NAME: ok" or "NAME: failed: REASON".
"use strict";

const { spawn, execFileSync } = require("child_process");
const crypto = require("crypto");
const fs = require("fs");
const net = require("net");
const path = require("path");
const { once } = require("events");

const [library, settings] = process.argv.slice(2);
const SSH2 = path.resolve(library, "node_modules/ssh2");
const { Client } = require(SSH2);
const { sendPacket } = require(path.join(SSH2, "lib/protocol/utils.js"));
const LOGIN = JSON.parse(fs.readFileSync(settings, "utf8"));

// An operation that is not done by then hangs. The slowest takes seconds, even on a busy machine.
const PATIENCE = 50000;
// Servers bound the sessions of a connection; all of this many fit.
const AT_A_TIME = 50;
const MIB = 1024 * 1024;
const OPEN_CONNECT_FAILED = 2;

function connect(options = {}) {
  const { hostKey = LOGIN.host_key, ...others } = options;
  const wanted = Buffer.from(hostKey.split(" ")[1], "base64");
  const client = new Client();
  return new Promise((resolve, reject) => {
    client.on("ready", () => resolve(client));
    // Also those that come when it has been given up.
    client.on("error", reject);
    client.on("close", () => reject(new Error("closed")));
    client.connect({
      host: LOGIN.host,
      port: LOGIN.port,
      username: LOGIN.user,
      password: LOGIN.password || undefined,
      privateKey: LOGIN.key ? fs.readFileSync(LOGIN.key) : undefined,
      hostVerifier: (key) => wanted.equals(key),
      // Sockets are OpenSSH's invention, and others have them too.
      strictVendor: false,
      ...others,
    });
  });
}

// Calls a function that takes a callback of (error, result) last.
function call(owner, name, ...args) {
  return new Promise((resolve, reject) => {
    owner[name](...args, (error, result) => (error ? reject(error) : resolve(result)));
  });
}

// Not by iterating: that would destroy a stream whose other half may be needed yet.
function all(stream) {
  const chunks = [];
  return new Promise((resolve, reject) => {
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("end", () => resolve(Buffer.concat(chunks)));
    stream.on("error", reject);
  });
}

// Standard output, standard error, status and signal of a command with this input.
function run(client, command, input = "", options = {}) {
  return new Promise((resolve, reject) => {
    // Nothing may be awaited before all is listened to: a short command may have ended by then.
    client.exec(command, options, (error, stream) => {
      if (error) return reject(error);
      let [status, signal] = [null, null];
      stream.on("exit", (...end) => ([status, signal] = end));
      const output = Promise.all([all(stream), all(stream.stderr), once(stream, "close")]);
      output.then(([stdout, stderr]) => resolve({ stdout, stderr, status, signal }), reject);
      stream.end(input);
    });
  });
}

// The same bytes each time, which do not repeat.
function data(length) {
  const cipher = crypto.createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16));
  return cipher.update(Buffer.alloc(length));
}

const checksum = (content) => crypto.createHash("sha256").update(content).digest("hex");
const reversed = (content) => Buffer.from(content).reverse();
const file = (name) => path.join(LOGIN.dir, name);

function same(got, wanted) {
  const [left, right] = [got, wanted].map((it) => JSON.stringify(it));
  if (left !== right) throw new Error(`${left.slice(0, 200)} instead of ${right.slice(0, 200)}`);
}

async function fails(promise, matches = () => true) {
  const error = await promise.then(() => null, (error) => error);
  if (!error) throw new Error("no error");
  if (!matches(error)) throw error;
}

async function other_host_key_is_refused() {
  const hostKey = `ssh-ed25519 ${Buffer.alloc(51).toString("base64")}`;
  await fails(connect({ hostKey }), (error) => /host/i.test(error.message));
}

async function streams_and_status(client) {
  const done = await run(client, "echo out; echo err >&2; exit 7");
  same([`${done.stdout}`, `${done.stderr}`, done.status], ["out\n", "err\n", 7]);
}

async function megabytes_both_ways(client) {
  const content = data(8 * MIB);
  const done = await run(client, "tee /dev/stderr", content);
  same([done.stdout, done.stderr].map(checksum), [checksum(content), checksum(content)]);
  same(done.status, 0);
}

async function killed_by_a_signal(client) {
  const done = await run(client, "kill -USR1 $$");
  same([done.status, done.signal], [null, "SIGUSR1"]);
}

async function signal_is_delivered(client) {
  const stream = await call(client, "exec", "echo ready; exec sleep 1000");
  const exit = once(stream, "exit");
  const [ready] = await once(stream, "data");
  same(`${ready}`, "ready\n");
  stream.signal("TERM");
  same((await exit)[1], "SIGTERM");
}

async function environment(client) {
  const env = { FIRST: "one two", SECOND: "ünï=cödé" };
  const done = await run(client, 'printf "%s|%s" "$FIRST" "$SECOND"', "", { env });
  same(`${done.stdout}`, "one two|ünï=cödé");
  same(`${(await run(client, 'printf "%s" "$FIRST"')).stdout}`, "");
}

async function terminal(client) {
  const stream = await call(client, "shell", { term: "xterm-256color", rows: 24, cols: 80 });
  const exit = once(stream, "exit");
  let text = "";
  stream.on("data", (chunk) => (text += chunk));
  const until = async (mark) => {
    while (!text.includes(mark)) await once(stream, "data");
    const before = text;
    text = "";
    return before;
  };
  stream.write("echo $TERM; stty size; echo done-$((6*7))\n");
  const first = await until("done-42");
  same([/xterm-256color\r\n/.test(first), /24 80\r\n/.test(first)], [true, true]);
  stream.setWindow(50, 132, 0, 0);
  stream.write("stty size; echo done-$((6*8))\n");
  same(/50 132\r\n/.test(await until("done-48")), true);
  stream.end("exit 9\n");
  same((await exit)[0], 9);
}

async function hundred_commands(client) {
  let next = 0;
  const worker = async () => {
    while (next < 100) {
      const number = next++;
      const done = await run(client, `cat; echo ${number} >&2; exit ${number}`, `${number}`);
      const got = [`${done.stdout}`, `${done.stderr}`, done.status];
      same(got, [`${number}`, `${number}\n`, number]);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}

// What ssh2 has no function for goes through what it has inside.
const GLOBAL_REQUEST = 80;

// True if the server said yes to a global request.
function globalRequest(client, name) {
  const answered = new Promise((resolve) => client._callbacks.push((failed) => resolve(!failed)));
  const write = client._protocol._packetRW.write;
  const content = Buffer.from([GLOBAL_REQUEST, 0, 0, 0, name.length, ...Buffer.from(name), 1]);
  const at = write.allocStart;
  const packet = write.alloc(content.length);
  packet.set(content, at);
  sendPacket(client._protocol, write.finalize(packet));
  return answered;
}

async function keepalives_are_answered(client) {
  // The answers may be yes or no; without one this hangs.
  for (const name of ["keepalive@openssh.com", "keepalive@cloudfoundry.org"]) {
    await globalRequest(client, name);
  }
  await streams_and_status(client);
}

async function unknown_global_request_is_refused(client) {
  same(await globalRequest(client, "unknown@example.com"), false);
  await streams_and_status(client);
}

async function rekeying_during_a_transfer() {
  const client = await connect();
  let exchanges = 0;
  client.on("handshake", () => exchanges++);
  const content = data(8 * MIB);
  const stream = await call(client, "exec", "cat");
  const exit = once(stream, "exit");
  const received = all(stream);
  let [count, next] = [0, MIB];
  stream.on("data", (chunk) => {
    count += chunk.length;
    if (count < next) return;
    next += MIB;
    client._protocol.rekey();
  });
  stream.end(content);
  same(checksum(await received), checksum(content));
  same((await exit)[0], 0);
  same(exchanges >= 4, true);
  await streams_and_status(client);
  await bye(client);
}

async function bye(client) {
  const closed = once(client, "close");
  client.end();
  await closed;
}

async function sftp_transfer(client) {
  const content = data(16 * MIB);
  const [here, there, back] = ["here", "there", "back"].map((it) => file(`transfer.${it}`));
  fs.writeFileSync(here, content);
  const sftp = await call(client, "sftp");
  await call(sftp, "fastPut", here, there);
  same(checksum(fs.readFileSync(there)), checksum(content));
  await call(sftp, "fastGet", there, back);
  same(checksum(fs.readFileSync(back)), checksum(content));
  // And as streams, which are what most programs use.
  const sink = sftp.createWriteStream(there);
  sink.end(content.subarray(0, 5 * MIB));
  await once(sink, "close");
  const read = await all(sftp.createReadStream(there));
  same(checksum(read), checksum(content.subarray(0, 5 * MIB)));
  sftp.end();
}

async function sftp_directories(client) {
  const top = file("directories");
  const sftp = await call(client, "sftp");
  await call(sftp, "mkdir", top);
  await call(sftp, "mkdir", `${top}/inside`, { mode: 0o700 });
  const names = Array.from({ length: 300 }, (_, number) => `file-${number}`);
  names.forEach((name, number) => fs.writeFileSync(`${top}/${name}`, "x".repeat(number)));
  const listed = await call(sftp, "readdir", top);
  same(listed.map((it) => it.filename).sort(), ["inside", ...names].sort());
  const by = Object.fromEntries(listed.map((it) => [it.filename, it]));
  same([by["file-299"].attrs.size, by.inside.attrs.isDirectory()], [299, true]);
  same(by.inside.longname.slice(0, 10), "drwx------");
  await call(sftp, "rmdir", `${top}/inside`);
  same(fs.existsSync(`${top}/inside`), false);
  await fails(call(sftp, "rmdir", top));
  same(await call(sftp, "realpath", `${top}/../directories/./`), top);
  sftp.end();
}

async function sftp_attributes(client) {
  const name = file("attributes");
  fs.writeFileSync(name, "0123456789");
  const sftp = await call(client, "sftp");
  await call(sftp, "chmod", name, 0o640);
  await call(sftp, "utimes", name, 1000000000, 1100000000);
  const [told, real] = [await call(sftp, "stat", name), fs.statSync(name)];
  same([real.mode & 0o7777, real.atimeMs, real.mtimeMs], [0o640, 1e12, 1.1e12]);
  same([told.mode, told.atime, told.mtime], [real.mode, 1000000000, 1100000000]);
  same([told.size, told.uid, told.gid], [10, real.uid, real.gid]);
  await call(sftp, "chown", name, real.uid, real.gid);
  const handle = await call(sftp, "open", name, "r");
  same((await call(sftp, "fstat", handle)).size, 10);
  await call(sftp, "close", handle);
  sftp.end();
}

async function sftp_links(client) {
  const [target, link, hard] = ["target", "link", "hard"].map(file);
  fs.writeFileSync(target, "content");
  const sftp = await call(client, "sftp");
  await symlink(sftp, target, link);
  same([fs.readlinkSync(link), await call(sftp, "readlink", link)], [target, target]);
  same((await call(sftp, "lstat", link)).isSymbolicLink(), true);
  same((await call(sftp, "stat", link)).isFile(), true);
  await call(sftp, "ext_openssh_hardlink", target, hard);
  same(fs.statSync(hard).ino, fs.statSync(target).ino);
  await call(sftp, "unlink", link);
  same([fs.existsSync(link), fs.existsSync(target)], [false, true]);
  sftp.end();
}

// The specification and OpenSSH have its arguments in different orders. ssh2 goes by the name of the
// server, which is not OpenSSH's here; the daemon goes by OpenSSH, as the one before it did.
function symlink(sftp, target, link) {
  const swap = !sftp._isOpenSSH;
  return swap ? call(sftp, "symlink", link, target) : call(sftp, "symlink", target, link);
}

async function sftp_renames(client) {
  const [first, second, third] = ["first", "second", "third"].map(file);
  fs.writeFileSync(first, "1");
  fs.writeFileSync(second, "2");
  const sftp = await call(client, "sftp");
  await fails(call(sftp, "rename", first, second));
  await call(sftp, "rename", first, third);
  same([fs.existsSync(first), fs.readFileSync(third, "utf8")], [false, "1"]);
  await call(sftp, "ext_openssh_rename", third, second);
  same([fs.existsSync(third), fs.readFileSync(second, "utf8")], [false, "1"]);
  sftp.end();
}

async function sftp_truncate_and_append(client) {
  const name = file("truncate");
  const text = () => fs.readFileSync(name, "utf8");
  const sftp = await call(client, "sftp");
  await call(sftp, "writeFile", name, "0123456789");
  await call(sftp, "setstat", name, { size: 4 });
  same(text(), "0123");
  await call(sftp, "appendFile", name, "end");
  same(text(), "0123end");
  const handle = await call(sftp, "open", name, "r+");
  await call(sftp, "write", handle, Buffer.from("xy"), 0, 2, 2);
  await call(sftp, "fsetstat", handle, { size: 6 });
  await call(sftp, "ext_openssh_fsync", handle);
  await call(sftp, "close", handle);
  same(text(), "01xyen");
  await fails(call(sftp, "open", name, "wx"));
  sftp.end();
}

async function sftp_file_system(client) {
  const sftp = await call(client, "sftp");
  const told = await call(sftp, "ext_openssh_statvfs", LOGIN.dir);
  const real = fs.statfsSync(LOGIN.dir);
  same([told.f_bsize, told.f_blocks, told.f_files], [real.bsize, real.blocks, real.files]);
  sftp.end();
}

async function sftp_odd_names(client) {
  const names = ["new\nline", " blanks \t", "ünïcödé", "-rf *"];
  const top = file("names");
  const sftp = await call(client, "sftp");
  await call(sftp, "mkdir", top);
  for (const name of names) {
    await call(sftp, "writeFile", `${top}/${name}`, name);
    same(fs.readFileSync(`${top}/${name}`, "utf8"), name);
  }
  const listed = await call(sftp, "readdir", top);
  same(listed.map((it) => it.filename).sort(), [...names].sort());
  for (const name of names) await call(sftp, "unlink", `${top}/${name}`);
  same(fs.readdirSync(top), []);
  sftp.end();
}

async function sftp_errors(client) {
  const NO_SUCH_FILE = 2;
  const missing = file("missing");
  const sftp = await call(client, "sftp");
  for (const name of ["stat", "opendir", "unlink", "readlink"]) {
    await fails(call(sftp, name, missing), (error) => error.code === NO_SUCH_FILE);
  }
  await fails(call(sftp, "open", missing, "r"), (error) => error.code === NO_SUCH_FILE);
  // And goes on.
  fs.writeFileSync(missing, "");
  same((await call(sftp, "stat", missing)).size, 0);
  sftp.end();
}

// A server that answers when it has read everything: only a half-closed connection gets there.
async function listen(...address) {
  const server = net.createServer({ allowHalfOpen: true }, async (socket) => {
    socket.end(reversed(await all(socket)));
  });
  server.listen(...address);
  await once(server, "listening");
  return server;
}

async function talk(stream, content) {
  stream.end(content);
  same(checksum(await all(stream)), checksum(reversed(content)));
}

async function local_forward(client) {
  const server = await listen(0, "127.0.0.1");
  for (const length of [0, 1, MIB]) {
    await talk(await direct(client, server.address().port), data(length));
  }
  server.close();
}

const direct = (client, port) => call(client, "forwardOut", "127.0.0.1", 1, "127.0.0.1", port);

async function hundred_forwarded_connections(client) {
  const server = await listen(0, "127.0.0.1");
  const opened = Array.from({ length: 100 }, () => direct(client, server.address().port));
  // All are open before the first one is used.
  const streams = await Promise.all(opened);
  await Promise.all(streams.map((stream, number) => talk(stream, data(10000 + number))));
  server.close();
}

async function refused_forward_is_told(client) {
  const server = await listen(0, "127.0.0.1");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  await fails(direct(client, port), (error) => error.reason === OPEN_CONNECT_FAILED);
}

// Hands each connection that a server forwards to a socket of ours.
function forwarded(client, event, connectTo) {
  const handler = (_, accept) => {
    const stream = accept();
    const socket = net.connect({ ...connectTo, allowHalfOpen: true });
    stream.pipe(socket).pipe(stream);
  };
  client.on(event, handler);
  return () => client.off(event, handler);
}

async function remote_forward(client) {
  const server = await listen(0, "127.0.0.1");
  const stop = forwarded(client, "tcp connection", { port: server.address().port });
  const port = await call(client, "forwardIn", "127.0.0.1", 0);
  for (const length of [0, 1, MIB]) {
    await talk(net.connect({ port, host: "127.0.0.1", allowHalfOpen: true }), data(length));
  }
  await call(client, "unforwardIn", "127.0.0.1", port);
  await fails(once(net.connect(port, "127.0.0.1"), "connect"), (it) => it.code === "ECONNREFUSED");
  stop();
  server.close();
}

async function unix_local_forward(client) {
  const server = await listen(file("unix.echo"));
  for (const length of [0, 1, MIB]) {
    await talk(await call(client, "openssh_forwardOutStreamLocal", file("unix.echo")), data(length));
  }
  server.close();
}

async function unix_remote_forward(client) {
  const [echo, remote] = [file("unix.far-echo"), file("unix.remote")];
  const server = await listen(echo);
  const stop = forwarded(client, "unix connection", { path: echo });
  await call(client, "openssh_forwardInStreamLocal", remote);
  for (const length of [0, 1, MIB]) {
    await talk(net.connect({ path: remote, allowHalfOpen: true }), data(length));
  }
  await call(client, "openssh_unforwardInStreamLocal", remote);
  await fails(once(net.connect(remote), "connect"));
  stop();
  server.close();
}

async function agent_forwarding() {
  const [socket, key] = [file("agent"), file("agent-key")];
  const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    // It tells where it listens once it does.
    await once(agent.stdout, "data");
    const env = { ...process.env, SSH_AUTH_SOCK: socket };
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "lent", "-f", key]);
    execFileSync("ssh-add", ["-q", key], { env });
    const listed = execFileSync("ssh-add", ["-L"], { env });
    const client = await connect({ agent: socket, agentForward: true, authHandler: [method()] });
    const done = await run(client, "ssh-add -L");
    same([`${done.stdout}`, `${done.stderr}`, done.status], [`${listed}`, "", 0]);
    await bye(client);
  } finally {
    agent.kill();
    await once(agent, "close");
  }
}

// The agent is there to be forwarded, not to log in with.
const method = () => (LOGIN.password ? "password" : "publickey");

const OPERATIONS = [
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
  local_forward,
  hundred_forwarded_connections,
  refused_forward_is_told,
  remote_forward,
  unix_local_forward,
  unix_remote_forward,
  agent_forwarding,
];

function withinPatience(operation) {
  let timer;
  const hangs = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("it hangs")), PATIENCE);
  });
  return Promise.race([operation, hangs]).finally(() => clearTimeout(timer));
}

async function main() {
  // All on one connection but for those that need a special one; a new one only after a failure, so
  // that each operation is judged by itself.
  let client = null;
  for (const operation of OPERATIONS) {
    try {
      client = client || (await connect());
      await withinPatience(operation(client));
      console.log(`${operation.name}: ok`);
    } catch (error) {
      console.error(error);
      console.log(`${operation.name}: failed: ${`${error.message}`.replace(/\s+/g, " ")}`);
      if (client) client.destroy();
      client = null;
    }
  }
  if (client) await bye(client);
}

process.umask(0o022);
// What becomes of an operation that was given up is no news.
process.on("uncaughtException", (error) => console.error(error));
process.on("unhandledRejection", (error) => console.error(error));
main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
