//! What wraps the programs agrees with them: units of systemd, the image, and the archive. The BOSH job has
//! tests of its own (`bosh_job.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use devcell::rig::Binaries;

/// Where the units expect the program.
const INSTALLED: &str = "/usr/local/bin/ssh-proxy";

/// What `scripts/dist` makes.
const PROGRAMS: [&str; 2] = ["diego-sshd", "ssh-proxy"];

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that has to go well, and gives its standard output.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let Output { status, stdout, .. } = &output;
    assert!(status.success(), "{command:?}: {output:?}");
    text(stdout)
}

/// The flags that the proxy has, as `-name`.
fn flags() -> BTreeSet<String> {
    let mut command = Command::new(Binaries::find().unwrap().ssh_proxy);
    let usage = text(&command.arg("-help").output().unwrap().stderr);
    let names = usage.lines().filter_map(|line| line.strip_prefix("  -"));
    let names = names.filter_map(|line| line.split(' ').next());
    names.map(|name| format!("-{name}")).collect()
}

/// Flags among words, without their values.
fn names_of_flags<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let flags = words.filter(|word| word.starts_with('-'));
    let names = flags.filter_map(|flag| flag.split('=').next());
    names.map(str::to_owned).collect()
}

/// What a unit says, without the comments.
fn lines(unit: &str) -> Vec<&str> {
    let lines = unit.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let dir = tempfile::tempdir().unwrap();
    let program = Binaries::find().unwrap().ssh_proxy;
    let units = repository().join("packaging/systemd");
    for (source, name) in [
        ("ssh-proxy.service", "ssh-proxy.service"),
        // What systemd makes of the template.
        ("ssh-proxy@.service", "ssh-proxy@a.service"),
        ("ssh-proxy.socket", "ssh-proxy.socket"),
    ] {
        let unit = fs::read_to_string(units.join(source)).unwrap();
        let unit = unit.replace(INSTALLED, program.to_str().unwrap());
        fs::write(dir.path().join(name), unit).unwrap();
    }
    let names = [
        "ssh-proxy.service",
        "ssh-proxy@a.service",
        "ssh-proxy.socket",
    ];
    let paths = names.map(|name| dir.path().join(name));
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&paths)
        .output()
        .unwrap_or_else(|error| panic!("systemd-analyze (Debian package systemd): {error}"));
    // A line that it does not know is no failure to it, but a word on standard error.
    let complaints = text(&output.stderr);
    let ours: Vec<&str> = complaints
        .lines()
        .filter(|line| line.contains("ssh-proxy"))
        .collect();
    assert!(output.status.success() && ours.is_empty(), "{complaints}");
}

#[test]
fn units_start_the_proxy_as_it_wants_to_be_started() {
    let flags = flags();
    let service = read("packaging/systemd/ssh-proxy.service");
    let start = lines(&service)
        .into_iter()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    let mut words = start.split(' ');
    assert_eq!(words.next(), Some(INSTALLED));
    let given = names_of_flags(words);
    assert_eq!(given, ["-config"]);
    assert!(given.iter().all(|flag| flags.contains(flag)), "{flags:?}");
    let user = read("packaging/systemd/ssh-proxy.sysusers");
    assert!(user.starts_with("u ssh-proxy "));
    assert!(lines(&service).contains(&"User=ssh-proxy"));
}

/// systemd has no way to say it once.
#[test]
fn the_template_is_the_service_with_inherited_listeners() {
    let service = read("packaging/systemd/ssh-proxy.service");
    let template = read("packaging/systemd/ssh-proxy@.service");
    let mut inheriting = lines(&template);
    inheriting.retain(|line| *line != "Sockets=ssh-proxy.socket");
    assert_eq!(inheriting.len() + 1, lines(&template).len());
    assert_eq!(inheriting, lines(&service));
    // As many as the proxy takes, those for users first.
    let socket = read("packaging/systemd/ssh-proxy.socket");
    let ports: Vec<&str> = lines(&socket)
        .into_iter()
        .filter(|line| line.starts_with("Listen"))
        .collect();
    assert_eq!(ports, ["ListenStream=2222", "ListenStream=2223"]);
}

#[test]
fn the_image_holds_what_dist_writes_and_starts_it() {
    let file = read("packaging/Dockerfile");
    let instruction = |name: &str| {
        let mut found = lines(&file)
            .into_iter()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let only = found.next().unwrap();
        assert_eq!(found.next(), None, "{name} twice");
        only
    };
    assert_eq!(instruction("FROM"), "scratch");
    let (sources, target) = instruction("COPY").rsplit_once(' ').unwrap();
    assert_eq!(target, "/");
    let mut programs: Vec<&str> = sources
        .split(' ')
        .map(|source| source.strip_prefix("dist/").unwrap())
        .collect();
    programs.sort_unstable();
    assert_eq!(programs, PROGRAMS);
    let written = format!("programs=({})", PROGRAMS.join(" "));
    for script in ["scripts/dist", "scripts/pack"] {
        assert!(read(script).contains(&written), "{script}");
    }
    let context = read("packaging/Dockerfile.dockerignore");
    for source in sources.split(' ') {
        assert!(context.lines().any(|line| line == format!("!{source}")));
    }

    let words = |name: &str| -> Vec<String> { serde_json::from_str(instruction(name)).unwrap() };
    assert_eq!(words("ENTRYPOINT"), ["/ssh-proxy"]);
    let arguments = words("CMD");
    let given = names_of_flags(arguments.iter().map(String::as_str));
    let flags = flags();
    assert_eq!(given, ["-config"]);
    assert!(given.iter().all(|flag| flags.contains(flag)), "{flags:?}");
    // The image has no names of users.
    let user = instruction("USER");
    assert!(
        user.split(':').all(|id| id.parse::<u32>().is_ok()),
        "{user}"
    );
}

/// A directory as `scripts/dist` fills it, with small programs.
fn built() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        let path = dir.path().join(program);
        fs::write(&path, format!("#!/bin/sh\necho '{program} 1.2.3 (abc)'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    dir
}

/// Packs, with a time, and gives the path of the archive.
fn pack(dir: &Path, time: &str) -> PathBuf {
    let script = repository().join("scripts/pack");
    run(Command::new(script).arg(dir).env("SOURCE_DATE_EPOCH", time));
    let machine = run(Command::new("uname").arg("-m"));
    dir.join(format!("fairlead-1.2.3-{}.tar.gz", machine.trim()))
}

#[test]
fn the_archive_has_all_that_belongs_to_the_programs() {
    let dir = built();
    // One of an earlier version is no part of this one.
    fs::write(dir.path().join("fairlead-1.2.2-x.tar.gz"), "old").unwrap();
    let archive = pack(dir.path(), "1700000000");
    let listed = run(Command::new("tar").arg("-tzf").arg(&archive));
    let name = archive.file_name().unwrap().to_str().unwrap();
    let root = format!("{}/", name.strip_suffix(".tar.gz").unwrap());
    let mut files: Vec<&str> = listed
        .lines()
        .map(|path| path.strip_prefix(&root).unwrap())
        .filter(|path| !path.is_empty() && !path.ends_with('/'))
        .collect();
    files.sort_unstable();
    assert_eq!(
        files,
        [
            "LICENSE",
            "README.md",
            "diego-sshd",
            "docs/configuration.md",
            "ssh-proxy",
            "systemd/ssh-proxy.service",
            "systemd/ssh-proxy.socket",
            "systemd/ssh-proxy.sysusers",
            "systemd/ssh-proxy@.service",
        ]
    );
    let details = run(Command::new("tar")
        .args(["--numeric-owner", "--full-time", "-tvzf"])
        .arg(&archive)
        .env("TZ", "UTC"));
    for line in details.lines() {
        let mode = match line {
            line if line.ends_with('/') => "drwxr-xr-x",
            line if PROGRAMS.iter().any(|program| line.ends_with(program)) => "-rwxr-xr-x",
            _ => "-rw-r--r--",
        };
        assert!(line.starts_with(&format!("{mode} 0/0 ")), "{line}");
        assert!(line.contains(" 2023-11-14 22:13:20 "), "{line}");
    }

    let sums = fs::read_to_string(dir.path().join("SHA256SUMS")).unwrap();
    let summed: Vec<&str> = sums.lines().map(|line| line.split_at(66).1).collect();
    assert_eq!(summed, ["diego-sshd", "ssh-proxy", name]);
    let mut check = Command::new("sha256sum");
    run(check
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(dir.path()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
}

#[test]
fn the_same_programs_give_the_same_archive() {
    let (first, second) = (built(), built());
    let bytes = |dir: &tempfile::TempDir| fs::read(pack(dir.path(), "1700000000")).unwrap();
    assert!(bytes(&first) == bytes(&second));
    // The time of the commit is in it.
    assert!(fs::read(pack(first.path(), "1700000001")).unwrap() != bytes(&second));
}

#[test]
fn half_of_the_programs_are_not_packed() {
    let dir = built();
    fs::remove_file(dir.path().join("diego-sshd")).unwrap();
    let mut script = Command::new(repository().join("scripts/pack"));
    let output = script.arg(dir.path()).output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("there is no diego-sshd in "));
}
