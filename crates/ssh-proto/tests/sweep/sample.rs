//! Valid messages and what is made of each: cut at every byte, lengthened by one, and with each length
//! field wrong in five ways. What becomes of a case, its owner says; how it may end is judged here.

use crate::heap;

/// Most bytes that handling a case may take beyond the bytes of the case. The largest that is there by
/// design is an answer or a buffer of the first size; a length that is believed would show at once.
const MOST_MEMORY: usize = 64 * 1024;

/// How a message may end that is not as it was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    /// Its form is fixed: whatever is not that ends in an error.
    Exact,
    /// From this byte on it is somebody else's: what has so much of it is taken, unless a length before
    /// is wrong, whereupon it may be anything.
    OpenFrom(usize),
    /// Its parts are whole without the others, as in protobuf: error and acceptance are both lawful.
    Either,
    /// It stands in a stream: what is cut is waited for, and a byte more belongs to what follows.
    Stream,
}

/// A valid message.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Where its length fields are, each a `uint32`, and whether a wrong one breaks the form.
    pub(crate) lengths: Vec<(usize, Breaks)>,
    pub(crate) law: Law,
    /// What it may take beyond [`MOST_MEMORY`] where it is accepted, for what then begins to work.
    pub(crate) work: usize,
}

/// What a wrong length spoils.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breaks {
    /// The form of the message.
    Form,
    /// What is inside of one of its strings, or what it asks for: that may be refused by an answer.
    Content,
}

/// What was done to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Whole,
    CutAt(usize),
    OneMore,
    Length(usize, u32, Breaks),
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Accepted,
    Error,
}

impl<T, E> From<Result<T, E>> for End {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Accepted,
            Err(_) => Self::Error,
        }
    }
}

impl Sample {
    /// A message whose fields have this layout: `b` a byte, `u` a `uint32`, `q` a `uint64`, `n` a count of
    /// what follows, `w` a size or number that means something, `s` a string, `k` one that is the name of
    /// something, so that with another length it may be another name, `(…)` a string with this layout inside, `*` the rest, in which there is no length. What is behind `|` is somebody else's;
    /// without it the form is fixed.
    pub(crate) fn new(name: &str, layout: &str, bytes: Vec<u8>) -> Self {
        let mut walk = Walk {
            bytes: &bytes,
            at: 0,
            inside: 0,
            lengths: Vec::new(),
            law: Law::Exact,
        };
        walk.fields(&mut layout.bytes());
        assert_eq!(walk.at, bytes.len(), "{name}: {layout} is not its layout");
        Self {
            name: name.to_owned(),
            lengths: walk.lengths,
            law: walk.law,
            work: 0,
            bytes,
        }
    }

    /// The same under another law.
    pub(crate) fn under(self, law: Law) -> Self {
        Self { law, ..self }
    }

    /// The changes of this message; the message itself comes first.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let mut changes = vec![Change::Whole, Change::OneMore];
        changes.extend((0..self.bytes.len()).map(Change::CutAt));
        for (at, breaks) in &self.lengths {
            let value = u32::from_be_bytes(self.bytes[*at..at + 4].try_into().unwrap());
            let mut wrong = vec![
                0,
                value.wrapping_sub(1),
                value.wrapping_add(1),
                1 << 31,
                u32::MAX,
            ];
            wrong.retain(|it| *it != value);
            changes.extend(
                wrong
                    .into_iter()
                    .map(|wrong| Change::Length(*at, wrong, *breaks)),
            );
        }
        changes
    }

    /// The message with a change.
    pub(crate) fn with(&self, change: Change) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        match change {
            Change::Whole => {}
            Change::CutAt(end) => bytes.truncate(end),
            Change::OneMore => bytes.push(0),
            Change::Length(at, value, _) => bytes[at..at + 4].copy_from_slice(&value.to_be_bytes()),
        }
        bytes
    }

    /// How the case must end, if the law says so.
    fn must_end(&self, change: Change) -> Option<End> {
        if change == Change::Whole {
            return Some(End::Accepted);
        }
        match (self.law, change) {
            (_, Change::Length(_, _, Breaks::Content)) => None,
            (Law::Exact, _) => Some(End::Error),
            (Law::Either, _) => None,
            (Law::Stream, Change::Length(..)) => Some(End::Error),
            (Law::Stream, _) => Some(End::Accepted),
            (Law::OpenFrom(start), Change::CutAt(end)) if end < start => Some(End::Error),
            (Law::OpenFrom(_), Change::Length(..)) => None,
            (Law::OpenFrom(_), _) => Some(End::Accepted),
        }
    }

    /// One case: `handle` is what a machine in the right state does with its bytes.
    pub(crate) fn check(&self, change: Change, handle: impl FnOnce(&[u8]) -> End) {
        let bytes = self.with(change);
        let (end, memory) = heap::peak_of(|| handle(&bytes));
        let what = format!("{} {change:?}", self.name);
        let work = if end == End::Accepted { self.work } else { 0 };
        let most = MOST_MEMORY + work + bytes.len();
        assert!(memory <= most, "{what}: {memory} bytes of memory");
        if let Some(must) = self.must_end(change) {
            assert_eq!(end, must, "{what}");
        }
    }
}

/// All cases of all samples; `machine` makes one in the right state, which handles the bytes. How many.
pub(crate) fn sweep<M>(
    samples: &[Sample],
    mut machine: impl FnMut(&Sample) -> M,
    mut handle: impl FnMut(&mut M, &[u8]) -> End,
) -> usize {
    let mut cases = 0;
    for sample in samples {
        for change in sample.changes() {
            let mut machine = machine(sample);
            sample.check(change, |bytes| handle(&mut machine, bytes));
            cases += 1;
        }
    }
    cases
}

/// Prints how many cases there were, of which so many must be.
pub(crate) fn report(cases: usize, least: usize) {
    println!("{cases} cases");
    assert!(cases >= least, "{cases} cases and not {least}");
}

/// Finds the length fields of a message.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many strings the fields are inside of.
    inside: usize,
    lengths: Vec<(usize, Breaks)>,
    law: Law,
}

impl Walk<'_> {
    fn fields(&mut self, layout: &mut impl Iterator<Item = u8>) {
        while let Some(field) = layout.next() {
            match field {
                b'b' => self.at += 1,
                b'u' => self.at += 4,
                b'q' => self.at += 8,
                b'n' => {
                    self.length();
                }
                b'w' => {
                    self.lengths.push((self.at, Breaks::Content));
                    self.at += 4;
                }
                b's' => {
                    let length = self.length();
                    self.at += length;
                }
                b'k' => {
                    self.inside += 1;
                    let length = self.length();
                    self.at += length;
                    self.inside -= 1;
                }
                b'(' => {
                    let length = self.length();
                    let end = self.at + length;
                    self.inside += 1;
                    self.fields(layout);
                    self.inside -= 1;
                    assert_eq!(self.at, end, "the inside of a string");
                }
                b')' => return,
                b'|' => self.law = Law::OpenFrom(self.at),
                b'*' => self.at = self.bytes.len(),
                b' ' => {}
                other => panic!("a field of type {:?}", char::from(other)),
            }
        }
    }

    fn length(&mut self) -> usize {
        let field = self.bytes[self.at..self.at + 4].try_into().unwrap();
        let breaks = if self.inside == 0 {
            Breaks::Form
        } else {
            Breaks::Content
        };
        self.lengths.push((self.at, breaks));
        self.at += 4;
        u32::from_be_bytes(field) as usize
    }
}
