//! The first seeds of each target: what real peers send, and one input for each kind that a target
//! tells apart. `src/bin/seeds.rs` writes them; those that fuzzing found lie beside them.

use ssh_proto::algorithm::{Cipher, Kex, Mac, Signature};
use ssh_proto::msg;
use ssh_proto::transport::Role;
use ssh_proto::wire::Put;

use super::clear::{self, IDENTIFICATION};
use super::sample_keys;

/// A seed: its target, its name, its bytes.
pub struct Seed {
    /// The target.
    pub target: &'static str,
    /// What it shows.
    pub name: String,
    /// The input.
    pub data: Vec<u8>,
}

/// Writes what [`crate::input::Input`] reads.
#[derive(Default, Clone)]
struct Script(Vec<u8>);

impl Script {
    fn of(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    fn then(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len()).expect("seeds are short");
        self.then(&length.to_le_bytes()).then(bytes)
    }

    fn short(self, bytes: &[u8]) -> Self {
        let length = u8::try_from(bytes.len()).expect("seeds are short");
        self.then(&[length]).then(bytes)
    }

    fn number(self, number: u32) -> Self {
        self.then(&number.to_le_bytes())
    }
}

/// Every seed that is made.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, script: Script| {
        seeds.push(Seed {
            target,
            name: name.to_owned(),
            data: script.0,
        });
    };
    identifications(&mut add);
    packets(&mut add);
    key_exchanges(&mut add);
    authentication(&mut add);
    connections(&mut add);
    keys(&mut add);
    whole(&mut add);
    seeds
}

type Add<'a> = &'a mut dyn FnMut(&'static str, &str, Script);

fn identifications(add: Add<'_>) {
    add(
        "ident",
        "openssh",
        Script::of(b"\0\x10SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    );
    add(
        "ident",
        "lines-before",
        Script::of(b"\x01\x04hello\r\nSSH-1.99-old\n"),
    );
    add("ident", "http", Script::of(b"\0\0GET / HTTP/1.1\r\n"));
    let lines = b"Welcome\r\n".repeat(33);
    add("ident", "many-lines", Script::of(&[1, 0]).then(&lines));
}

fn packets(add: Add<'_>) {
    let payloads = clear::handshake(Role::Server);
    let stream: Vec<u8> = payloads
        .iter()
        .flat_map(|payload| clear::packet(payload))
        .collect();
    for keyed in [0, 1] {
        let script = Script::of(&[keyed, 7]).then(&stream);
        add("deframer_clear", &format!("handshake-{keyed}"), script);
    }
    let sealed = |head: &[u8], changed: u8| {
        let mut script = Script::of(head).then(&[7, 0]);
        for (number, payload) in payloads.iter().enumerate() {
            let change = if number == 1 { changed } else { 0 };
            let body = [&[4], payload.as_slice(), &[0; 4]].concat();
            script = script.then(&[change]).bytes(&body);
            if change != 0 {
                script = script.number(9);
            }
        }
        script
    };
    for (target, heads) in [
        ("deframer_gcm", vec![vec![0], vec![1]]),
        ("deframer_chacha", vec![vec![]]),
        (
            "deframer_ctr",
            (0..12).map(|n| vec![n % 3, n % 4]).collect(),
        ),
    ] {
        for (number, head) in heads.iter().enumerate() {
            add(target, &format!("good-{number}"), sealed(head, 0));
            add(target, &format!("changed-{number}"), sealed(head, 0x83));
        }
        let raw = Script::of(&heads[0]).then(&[0, 1]).then(&stream);
        add(target, "never-sealed", raw);
    }
}

/// Every algorithm in the order of its list.
fn everything(script: Script) -> Script {
    let counts = [
        Kex::ALL.len(),
        Signature::ALL.len(),
        Cipher::ALL.len(),
        Mac::ALL.len(),
    ];
    counts.into_iter().fold(script, |script, count| {
        let count = u8::try_from(count).expect("few");
        script.then(&[count]).then(&(0..count).collect::<Vec<_>>())
    })
}

fn key_exchanges(add: Add<'_>) {
    for role in [0u8, 1] {
        let head = everything(Script::of(&[role]));
        for strict in [0, 2] {
            let raw = clear::handshake([Role::Server, Role::Client][usize::from(role)]);
            let script = head.clone().then(&[strict, 1]).then(&raw[0][1..]);
            add("kexinit", &format!("raw-{role}-{strict}"), script);
        }
        let names = [
            3u8, 1, 6, 8, 2, 0, 4, 2, 3, 2, 0, 3, 2, 2, 2, 1, 1, 2, 1, 1, 1, 0, 1, 0, 0, 0,
        ];
        add(
            "kexinit",
            &format!("names-{role}"),
            head.clone().then(&[0, 0]).then(&names),
        );
        add(
            "kexinit",
            &format!("agree-{role}"),
            everything(head.then(&[0, 2])),
        );
    }
    for (number, method) in Kex::ALL.iter().enumerate() {
        let number = u8::try_from(number).expect("few");
        let server = Script::of(&[number, 0, 0, 0, 1]);
        add("kex_replies", &format!("server-{}", method.name()), server);
        let client = Script::of(&[number, 1, number, 0, 0, 0, 0, 1]);
        add("kex_replies", &format!("client-{}", method.name()), client);
        let zeros = Script::of(&[number, 1, 0, 3, 0, 0, 0, 0]);
        add("kex_replies", &format!("zeros-{}", method.name()), zeros);
    }
}

fn authentication(add: Add<'_>) {
    let service = [0, 0, 0];
    let password = |script: Script| script.then(&[1, 1, 1, 1, 0]).short(b"secret").then(&[0]);
    let mut script = Script::of(&[0, 0]).then(&service).then(&[0, 1, 1, 1, 0, 0]);
    script = password(password(script.then(&[4])).then(&[3]));
    add("userauth", "passwords", script);
    for (number, algorithm) in Signature::ALL.iter().enumerate() {
        let number = u8::try_from(number).expect("few");
        let query = [1, 1, 1, 1, 2, 0, number, 2, 0];
        let signed = [3, 1, 1, 1, 2, 1, number, 2, 2, 0];
        let script = Script::of(&[0, 1])
            .then(&service)
            .then(&query)
            .then(&signed);
        add("userauth", &format!("key-{}", algorithm.name()), script);
    }
    let mut tries = Script::of(&[0, 0]).then(&service);
    let mut questions = Script::of(&[0, 1]).then(&service);
    let mut ignored = Script::of(&[0, 0]);
    for _ in 0..7 {
        tries = password(tries.then(&[0]));
    }
    for _ in 0..21 {
        questions = questions.then(&[1, 1, 1, 1, 2, 0, 0, 2, 0]);
    }
    for _ in 0..66 {
        ignored = ignored.then(&[0, 6, 0]);
    }
    add("userauth", "too-many-tries", tries);
    add("userauth", "too-many-questions", questions);
    add("userauth", "too-many-messages", ignored);
    let mut script = Script::of(&[1, 3, 0, 1, 2])
        .then(&[6, 1, 1, 0, 1])
        .then(&[0]);
    script = script
        .then(&[4])
        .bytes(b"banner")
        .then(&[1])
        .short(b"password,publickey");
    add("userauth", "client", script.then(&[0, 1, 0, 0, 3]));
}

fn connections(add: Add<'_>) {
    let model: &[u8] = &[
        0, 0, 0, 200, 100, 22, 19, 1, 1, 1, 200, 100, 22, 19, 0, 4, 0, 0, 0, 40, 7, 1, 0, 1, 60,
        22, 19, 0, 19, 1, 10, 0, 0, 90, 15, 0, 0, 1, 22, 19, 1, 16, 1, 0, 1, 17, 0, 1, 22, 19, 1,
        18, 1, 1, 13, 0, 0, 22, 19, 1, 14, 1, 0, 22, 19, 0,
    ];
    add("channels", "model", Script::of(&[0]).then(model));
    // Each begins with the application's mood and the kind of message.
    let open = [0, 10, 0, 0, 0, 50, 60, 0];
    let used: &[&[u8]] = &[
        &[0, 10, 8, 0, 20],
        &[0, 10, 18, 0, 0, 1, 0],
        &[0, 10, 6, 0, 9],
        &[0x10, 10, 3, 1, 1, 60, 50],
        &[0, 10, 14, 0, 0],
        &[0, 10, 14, 1, 0],
    ];
    let rekey = [0x40, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0];
    let mut ping = Vec::new();
    ping.put_string(&[0; 2000]);
    for role in [0, 1] {
        let begun = Script::of(&[1, role]).then(&open);
        add(
            "channels",
            &format!("hostile-{role}"),
            begun.clone().then(&used.concat()),
        );
        add(
            "channels",
            &format!("rekey-{role}"),
            begun.clone().then(&rekey).then(used[0]),
        );
        for (name, mood) in [("pings", 8), ("pings-while-keying", 0x48)] {
            let flood = begun.clone().then(&[mood, 31, 23, msg::PING]).bytes(&ping);
            add("channels", &format!("{name}-{role}"), flood);
        }
    }
    let pty = ssh_proto::connection::request::PtyReq {
        term: b"xterm-256color",
        size: Default::default(),
        modes: b"\x35\0\0\0\x01\x80\0\0\x96\0\0",
    };
    add(
        "pty_modes",
        "pty-req",
        Script::of(&[2, 0]).then(&pty.encode()),
    );
    add("pty_modes", "modes", Script::of(&[0]).then(pty.modes));
    let mut strings = Vec::new();
    strings.put_string(b"LANG");
    strings.put_string(b"C.UTF-8");
    add("pty_modes", "env", Script::of(&[2, 1]).then(&strings));
    add("pty_modes", "exec", Script::of(&[2, 3]).then(&strings[..8]));
    let mut ended = strings[..8].to_vec();
    ended.put_bool(true);
    ended.extend_from_slice(&strings[8..]);
    ended.put_string(b"");
    add("pty_modes", "exit-signal", Script::of(&[2, 8]).then(&ended));
    let mut tcpip = strings[..8].to_vec();
    tcpip.put_u32(80);
    add(
        "pty_modes",
        "tcpip-forward",
        Script::of(&[1, 1]).then(&tcpip),
    );
    tcpip.extend_from_slice(&tcpip.clone());
    add(
        "pty_modes",
        "direct-tcpip",
        Script::of(&[1, 0]).then(&tcpip),
    );
}

fn keys(add: Add<'_>) {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    for algorithm in [
        Signature::Ed25519,
        Signature::EcdsaP256,
        Signature::RsaSha512,
    ] {
        let (name, blob) = (algorithm.name(), sample_keys::public(algorithm));
        add(
            "keys",
            &format!("blob-{name}"),
            Script::of(&[0]).then(&blob),
        );
        let line = format!(
            "no-pty,command=\"a b\" {name} {} me\n",
            base64.encode(&blob)
        );
        add(
            "keys",
            &format!("line-{name}"),
            Script::of(&[3]).then(line.as_bytes()),
        );
    }
    for (number, file) in sample_keys::FILES.iter().enumerate() {
        add(
            "keys",
            &format!("file-{number}"),
            Script::of(&[1]).then(file.as_bytes()),
        );
        let text: String = file.lines().filter(|line| !line.starts_with('-')).collect();
        let content = base64.decode(text).expect("a file of ssh-keygen");
        add(
            "keys",
            &format!("openssh-{number}"),
            Script::of(&[2, 0]).then(&content),
        );
    }
    for (number, (label, file)) in sample_keys::OTHER_FORMS.iter().enumerate() {
        add(
            "keys",
            &format!("form-{number}"),
            Script::of(&[1]).then(file.as_bytes()),
        );
        let text: String = file.lines().filter(|line| !line.starts_with('-')).collect();
        let content = base64.decode(text).expect("a file of openssl");
        let label = super::keys::LABELS
            .iter()
            .position(|it| it == label)
            .expect("a label");
        let head = Script::of(&[2, u8::try_from(label).expect("few")]);
        add("keys", &format!("inside-{number}"), head.then(&content));
    }
    let rsa = sample_keys::OTHER_FORMS[0].1;
    let header = rsa.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1);
    add(
        "keys",
        "with-header",
        Script::of(&[1]).then(header.as_bytes()),
    );
    for label in ["ENCRYPTED ", "DSA "] {
        let text = rsa.replace("RSA ", label);
        let name = format!("label-{}", label.trim_end());
        add("keys", &name, Script::of(&[1]).then(text.as_bytes()));
    }
    let mut long = Vec::new();
    long.put_string(b"ssh-rsa");
    long.put_mpint(&[1, 0, 1]);
    long.put_mpint(&[0x7f; 1025]);
    add("keys", "blob-too-long", Script::of(&[0]).then(&long));
    for form in [0, 3, 6, 9, 12] {
        add(
            "keys",
            &format!("pin-{form}"),
            Script::of(&[4, 0, form]).number(0).then(&[0]),
        );
    }
    for (number, algorithm) in Signature::ALL.iter().enumerate() {
        let number = u8::try_from(number).expect("few");
        let name = algorithm.name();
        let head = Script::of(&[number, 0]).short(b"message");
        add(
            "signatures",
            &format!("good-{name}"),
            head.clone().then(&[0]),
        );
        add(
            "signatures",
            &format!("changed-{name}"),
            head.then(&[1]).number(40).then(&[1]),
        );
        let script = Script::of(&[number, 1])
            .bytes(&sample_keys::public(*algorithm))
            .short(b"message")
            .then(&sample_keys::forged(*algorithm));
        add("signatures", &format!("forged-{name}"), script);
    }
}

fn whole(add: Add<'_>) {
    let stream = |payloads: &[Vec<u8>]| {
        let packets = payloads.iter().flat_map(|payload| clear::packet(payload));
        [IDENTIFICATION, &packets.collect::<Vec<_>>()].concat()
    };
    let mut login = clear::handshake(Role::Server).to_vec();
    login.push(clear::string_message(msg::SERVICE_REQUEST, b"ssh-userauth"));
    let mut request = clear::string_message(msg::USERAUTH_REQUEST, b"vcap");
    request.put_string(b"ssh-connection");
    request.put_string(b"password");
    request.put_bool(false);
    request.put_string(b"secret");
    login.push(request);
    let raw = Script::of(&[0, 0, 3, 1, 3]).bytes(&stream(&login));
    add("preauth_server", "login", raw);
    // A mood and the kind of step, as which 31 is what fits.
    let keying = [0, 31, 0, 31, 0, 31, 0, 31];
    let password = [0, 31, 0, 0, 3, 31, 1, 1, 1, 1, 0, 1, b'x', 0];
    let key = [
        0, 31, 0, 0, 1, 31, 1, 1, 1, 2, 0, 0, 2, 0, 3, 31, 1, 1, 1, 2, 1, 0, 2, 2, 0,
    ];
    let steps = Script::of(&[0, 0, 0, 0]).then(&keying);
    add("preauth_server", "password", steps.clone().then(&password));
    add("preauth_server", "timeout", steps.then(&[0x55, 6, 0]));
    add(
        "preauth_server",
        "key",
        Script::of(&[1, 1, 0, 0]).then(&key),
    );
    add(
        "preauth_server",
        "changed-kex",
        Script::of(&[0, 0, 0, 0, 0, 31, 0, 4, 0, 3, 20, 0, 0, 0, 1]),
    );

    let mut served = clear::handshake(Role::Client).to_vec();
    served.push(clear::string_message(msg::SERVICE_ACCEPT, b"ssh-userauth"));
    served.push(vec![msg::USERAUTH_SUCCESS]);
    let mut confirmation = vec![msg::CHANNEL_OPEN_CONFIRMATION];
    [0, 0, 60, 60]
        .into_iter()
        .for_each(|field| confirmation.put_u32(field));
    served.push(confirmation);
    let credentials = Script::of(&[2, 1, 2]);
    let raw = credentials
        .clone()
        .then(&[0, 3, 1, 0x10])
        .bytes(&stream(&served));
    add("client_role", "login", raw);
    let login = [0, 31, 0, 0, 31, 3];
    let used = [0x10, 31, 3, 0, 0, 60, 60, 0, 31, 8, 0, 20, 0, 31, 14, 0, 0];
    let rekey = [0x40, 4, 0, 0, 0, 4, 1, 0, 0, 4, 2, 0];
    let keying = credentials.clone().then(&[0, 0, 0]).then(&keying);
    add("client_role", "steps", keying.then(&login).then(&used));
    let keyed = credentials.then(&[1, 0, 0]).then(&login);
    add(
        "client_role",
        "rekey",
        keyed.clone().then(&rekey).then(&used),
    );
    add(
        "client_role",
        "changed-host",
        keyed.then(&[0, 4, 0, 0, 0, 4, 1, 3, 25, 0, 0, 0, 1]),
    );
}
