//! scp: its command line, and hostile peers of both of its directions.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use sshd::fuzzing::{self, ScpCommand};
use sshd::scp::{self, Streams};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::io::duplex;

use crate::input::Input;
use crate::place::{directory, names};
use crate::runtime::runtime;

/// A line is told apart from a text by its first byte.
const WARNING: u8 = 1;

/// What a name may have as a file system sees it, and a little more.
const LONGEST_NAME: usize = 512;

/// What is read out of a line is read out of it again when it is quoted; an error is a line for the
/// user. A pattern that is quoted matches its name, and matching is what a slow matcher says it is.
pub fn scp_command(data: &[u8]) {
    let mut input = Input::new(data);
    let name = input.short().to_vec();
    let line = input.rest();
    match fuzzing::scp_command(line) {
        Ok(command) => assert_eq!(fuzzing::scp_command(&written(&command)), Ok(command)),
        Err(error) => assert!(is_a_line(error.as_bytes()) && !error.is_empty()),
    }
    assert_eq!(scp::is_scp(line), words_begin_with_scp(line));
    check_pattern(line, &name);
    if !name.contains(&b'/') {
        assert_eq!(fuzzing::is_match(&quoted(&name), &name), Some(true));
    }
}

/// The command in the one form that needs no rules of quoting.
fn written(command: &ScpCommand) -> Vec<u8> {
    let mut line = b"scp -".to_vec();
    line.push(if command.is_source { b'f' } else { b't' });
    let options = [
        (command.recursive, b'r'),
        (command.must_be_directory, b'd'),
        (command.preserve, b'p'),
    ];
    line.extend(
        options
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, letter)| letter),
    );
    line.extend_from_slice(b" --");
    for name in &command.names {
        line.extend_from_slice(b" ''");
        line.extend(name.iter().flat_map(|byte| [b'\\', *byte]));
    }
    line
}

fn words_begin_with_scp(line: &[u8]) -> bool {
    let words = line.split(|byte| byte.is_ascii_whitespace());
    words.into_iter().find(|word| !word.is_empty()) == Some(b"scp")
}

/// A pattern for this name alone. No backslash goes into a character of several bytes.
fn quoted(name: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::new();
    for byte in name {
        if byte.is_ascii() {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern
}

/// Compares with a matcher that tries everything.
fn check_pattern(pattern: &[u8], name: &[u8]) {
    if pattern.len() > 16 || name.len() > 16 || !pattern.is_ascii() || !name.is_ascii() {
        // At least it ends.
        fuzzing::is_match(&pattern[..pattern.len().min(LONGEST_NAME)], name);
        return;
    }
    assert_eq!(fuzzing::is_match(pattern, name), naive(pattern, name));
}

/// Go's `path/filepath.Match` for ASCII without slashes; `None` for a malformed pattern, whether or
/// not the name gets that far.
fn naive(pattern: &[u8], name: &[u8]) -> Option<bool> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let (token, after) = naive_token(rest)?;
        tokens.push(token);
        rest = after;
    }
    Some(naive_match(&tokens, name))
}

/// `None` is a star; else the bytes that fit.
type Fits = Option<Vec<u8>>;

fn naive_token(pattern: &[u8]) -> Option<(Fits, &[u8])> {
    let all = || (0..=255).collect::<Vec<u8>>();
    match pattern {
        [b'*', rest @ ..] => Some((None, rest)),
        [b'?', rest @ ..] => Some((Some(all()), rest)),
        [b'\\', byte, rest @ ..] => Some((Some(vec![*byte]), rest)),
        [b'\\'] => None,
        [b'[', b'^', rest @ ..] => {
            let (fits, rest) = naive_class(rest)?;
            let others = all()
                .into_iter()
                .filter(|byte| !fits.contains(byte))
                .collect();
            Some((Some(others), rest))
        }
        [b'[', rest @ ..] => naive_class(rest).map(|(fits, rest)| (Some(fits), rest)),
        [byte, rest @ ..] => Some((Some(vec![*byte]), rest)),
        [] => None,
    }
}

fn naive_class(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut fits = Vec::new();
    let mut ranges = 0;
    loop {
        if let ([b']', after @ ..], 1..) = (rest, ranges) {
            return Some((fits, after));
        }
        let (low, after) = naive_bound(rest)?;
        let (high, after) = match after {
            [b'-', after @ ..] => naive_bound(after)?,
            _ => (low, after),
        };
        fits.extend(low..=high);
        ranges += 1;
        rest = after;
    }
}

fn naive_bound(rest: &[u8]) -> Option<(u8, &[u8])> {
    match rest {
        [b'-' | b']', ..] | [] | [b'\\'] => None,
        [b'\\', byte, after @ ..] | [byte, after @ ..] => Some((*byte, after)),
    }
}

fn naive_match(tokens: &[Fits], name: &[u8]) -> bool {
    match (tokens, name) {
        ([], []) => true,
        ([None, others @ ..], _) => {
            naive_match(others, name) || !name.is_empty() && naive_match(tokens, &name[1..])
        }
        ([Some(fits), others @ ..], [first, rest @ ..]) => {
            fits.contains(first) && naive_match(others, rest)
        }
        _ => false,
    }
}

/// A peer sends what it wants to `scp -t`: it ends with 0 or 1, nothing is written but below the
/// target, and what is answered is answers.
pub fn scp_sink(data: &[u8]) {
    let mut input = Input::new(data);
    let options = input.byte();
    let stream = input.rest();
    let root = directory();
    let target = root.path().join("in");
    if options & 1 != 0 {
        fs::create_dir(&target).expect("a directory");
    }
    if options & 2 != 0 && options & 1 != 0 {
        fs::write(target.join("a"), "before").expect("a file");
        fs::create_dir(target.join("b")).expect("a directory");
    }
    let beside = root.path().join("in-beside");
    fs::write(&beside, "untouched").expect("a file");
    let mut command = b"scp -t".to_vec();
    for (bit, letter) in [(4, b'r'), (8, b'p'), (16, b'd')] {
        if options & bit != 0 {
            command.push(letter);
        }
    }
    command.push(b' ');
    command.extend_from_slice(target.as_os_str().as_bytes());
    let copy = run(&command, stream);
    assert!(copy.status <= 1);
    let mut found = names(root.path());
    found.retain(|name| name != "in");
    assert_eq!(found, ["in-beside"]);
    assert_eq!(fs::read(&beside).expect("it is there"), b"untouched");
    check_answers(&copy.output);
    check_texts(&copy.errors);
}

/// A peer answers what it wants to `scp -f`: it ends, and if the peer agrees to everything, what it
/// gets is files and directories as they are.
pub fn scp_source(data: &[u8]) {
    let mut input = Input::new(data);
    let options = input.byte();
    let name = input.short().to_vec();
    let answers = input.rest();
    let tree = tree();
    let mut command = b"scp -f".to_vec();
    for (bit, letter) in [(1, b'r'), (2, b'p')] {
        if options & bit != 0 {
            command.push(letter);
        }
    }
    command.extend_from_slice(b" -- ");
    for byte in tree
        .as_os_str()
        .as_bytes()
        .iter()
        .chain(b"/")
        .chain(&inside(&name))
    {
        command.extend_from_slice(&[b'\\', *byte]);
    }
    let agrees = options & 4 != 0;
    // Enough for a line, its contents and its end, for everything that is there.
    let zeros = [0; 4096];
    let copy = run(&command, if agrees { &zeros } else { answers });
    assert!(copy.status <= 1);
    check_texts(&copy.errors);
    if agrees {
        check_copy(&tree, &copy.output);
    } else {
        assert!(copy.output.len() <= LARGEST_COPY);
    }
}

/// The name without a way up.
fn inside(name: &[u8]) -> Vec<u8> {
    let mut name = name.to_vec();
    for at in 1..name.len() {
        if name[at] == b'.' && name[at - 1] == b'.' {
            name[at] = b'-';
        }
    }
    name
}

/// More than all of the tree, as often as a pattern of a name's length can find it.
const LARGEST_COPY: usize = 64 * 1024 * 1024;

thread_local! {
    /// Made once in each thread that copies, and gone with it.
    static TREE: TempDir = planted();
}

/// What there is to send: the same for every run, since nothing changes it.
fn tree() -> PathBuf {
    TREE.with(|tree| tree.path().to_owned())
}

fn planted() -> TempDir {
    let tree = directory();
    let at = |name: &str| tree.path().join(name);
    fs::create_dir_all(at("d/e")).expect("directories");
    for (name, length) in [
        ("a", 3),
        ("empty", 0),
        ("d/x", 300_000),
        ("d/e/z", 5),
        ("odd\nname", 2),
    ] {
        let contents: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        fs::write(at(name), contents).expect("a file");
    }
    std::os::unix::fs::symlink(".", at("d/loop")).expect("a link");
    std::os::unix::fs::symlink("nowhere", at("d/dangling")).expect("a link");
    tree
}

/// How a copy went.
struct Copy {
    status: u32,
    output: Vec<u8>,
    errors: Vec<u8>,
}

fn run(command: &[u8], input: &[u8]) -> Copy {
    runtime().block_on(async {
        let (output, mut out) = duplex(64 * 1024);
        let (errors, mut err) = duplex(64 * 1024);
        let mut copy = Copy {
            status: 0,
            output: Vec::new(),
            errors: Vec::new(),
        };
        let streams = Streams {
            input,
            output,
            errors,
        };
        let (status, out, err) = tokio::join!(
            scp::run(command, streams),
            out.read_to_end(&mut copy.output),
            err.read_to_end(&mut copy.errors)
        );
        out.expect("the end");
        err.expect("the end");
        copy.status = status;
        copy
    })
}

/// Zeros, and warnings that are lines.
fn check_answers(mut output: &[u8]) {
    while let Some((first, rest)) = output.split_first() {
        output = match *first {
            0 => rest,
            WARNING => {
                let end = rest
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .expect("a line's end");
                assert!(rest.starts_with(b"scp: ") && is_a_line(&rest[..end]));
                &rest[end + 1..]
            }
            other => panic!("answered {other}"),
        };
    }
}

fn check_texts(errors: &[u8]) {
    if !errors.is_empty() {
        let lines = errors.strip_suffix(b"\n").expect("whole lines");
        assert!(lines.split(|byte| *byte == b'\n').all(is_a_line));
    }
}

fn is_a_line(text: &[u8]) -> bool {
    !text.iter().any(u8::is_ascii_control)
}

/// Reads what a source sent to somebody who agrees, and compares it with the tree.
fn check_copy(tree: &Path, mut output: &[u8]) {
    let mut depth = 0_usize;
    while let Some((&kind, rest)) = output.split_first() {
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .expect("a line's end");
        let (line, rest) = (&rest[..end], &rest[end + 1..]);
        output = rest;
        match kind {
            WARNING => {}
            b'T' => assert_eq!(line.split(|byte| *byte == b' ').count(), 4),
            b'E' => {
                assert!(line.is_empty());
                depth = depth.checked_sub(1).expect("an end of something");
            }
            b'D' => {
                depth += 1;
                fields(line);
            }
            b'C' => {
                let (size, name) = fields(line);
                let (contents, rest) = rest.split_at(size);
                // What follows is a zero, since nobody changes the files.
                assert_eq!(rest.first(), Some(&0));
                output = &rest[1..];
                assert!(is_in_tree(tree, name, contents), "{}", name.escape_ascii());
            }
            other => panic!("sent {other}"),
        }
    }
    assert_eq!(depth, 0);
}

/// Size and name.
fn fields(line: &[u8]) -> (usize, &[u8]) {
    let mut fields = line.splitn(3, |byte| *byte == b' ');
    let mut field = || fields.next().expect("three fields");
    let (mode, size, name) = (field(), field(), field());
    assert!(mode.len() == 4 && mode.iter().all(|byte| (b'0'..=b'7').contains(byte)));
    let size = std::str::from_utf8(size).expect("digits");
    (size.parse().expect("a number"), name)
}

fn is_in_tree(tree: &Path, name: &[u8], contents: &[u8]) -> bool {
    let name = std::str::from_utf8(name).expect("ours are");
    ["", "d", "d/e"].iter().any(|directory| {
        fs::read(tree.join(directory).join(name)).is_ok_and(|found| found == contents)
    })
}
