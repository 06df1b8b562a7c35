//! Owns what a program prints: its last lines in bounded memory, and waiting for one of them.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Enough for a debug log of a long test; older lines are dropped.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A longer line is stored in pieces.
const MAX_LINE: u64 = 64 * 1024;

/// A position in a program's output; see [`Process::mark`](super::Process::mark).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    kept_bytes: usize,
    /// How many lines were dropped before the first kept one.
    dropped: u64,
    /// Streams that have not ended.
    open: usize,
}

impl Lines {
    fn push(&mut self, line: String) {
        self.kept_bytes += line.len();
        self.kept.push_back(line);
        while self.kept_bytes > MAX_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.len();
            self.dropped += 1;
        }
    }

    fn end(&self) -> u64 {
        self.dropped + self.kept.len() as u64
    }

    fn since(&self, mark: Mark) -> impl Iterator<Item = &String> {
        let skip = mark.0.saturating_sub(self.dropped);
        self.kept
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }
}

/// The output of one program over all its restarts.
#[derive(Debug, Default)]
pub(super) struct Output {
    lines: Mutex<Lines>,
    changed: watch::Sender<()>,
}

/// What a wait found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This line has the text.
    Line(String),
    /// All streams ended without it.
    Ended,
}

impl Output {
    /// Reads `stream` to its end on a thread of its own: it must go on when no runtime runs, since
    /// a program that nobody reads blocks in the end.
    pub(super) fn read(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        self.lock().open += 1;
        let output = Arc::clone(self);
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            while let Some(line) = next_line(&mut stream) {
                output.lock().push(line);
                output.changed.send_replace(());
            }
            output.lock().open -= 1;
            output.changed.send_replace(());
        });
    }

    pub(super) fn text(&self) -> String {
        let lines = self.lock();
        lines.kept.iter().flat_map(|line| [line, "\n"]).collect()
    }

    pub(super) fn last_line(&self) -> String {
        let last = self.lock().kept.back().cloned();
        last.unwrap_or_else(|| "nothing".to_owned())
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.lock().end())
    }

    pub(super) fn contains_since(&self, mark: Mark, text: &str) -> bool {
        self.lock().since(mark).any(|line| line.contains(text))
    }

    /// Waits until a line after `mark` contains `text` or there will be no more lines.
    pub(super) async fn find(&self, mark: Mark, text: &str) -> Found {
        // Subscribed before the first look, so that no line slips in between unnoticed.
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            {
                let lines = self.lock();
                if let Some(line) = lines.since(mark).find(|line| line.contains(text)) {
                    return Found::Line(line.clone());
                }
                if lines.open == 0 {
                    return Found::Ended;
                }
            }
            if changed.changed().await.is_err() {
                return Found::Ended;
            }
        }
    }

    /// Waits until all streams have ended.
    pub(super) async fn ended(&self) {
        let mut changed = self.changed.subscribe();
        while self.lock().open > 0 && changed.changed().await.is_ok() {}
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next_line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    match stream.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(&line).trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finds_lines_that_came_before_and_after() {
        let output = Arc::new(Output::default());
        output.read(&b"one\ntwo\n"[..]);
        let found = output.find(Mark::default(), "tw").await;
        assert_eq!(found, Found::Line("two".to_owned()));
        assert_eq!(output.find(Mark::default(), "three").await, Found::Ended);
        let mark = output.mark();
        output.read(&b"three\n"[..]);
        let found = output.find(mark, "three").await;
        assert_eq!(found, Found::Line("three".to_owned()));
        assert!(!output.contains_since(mark, "two"));
        assert_eq!(output.text(), "one\ntwo\nthree\n");
        assert_eq!(output.last_line(), "three");
    }

    #[tokio::test]
    async fn memory_is_bounded_and_marks_survive_it() {
        let output = Arc::new(Output::default());
        output.read(std::io::repeat(b'x').take(9 * 1024 * 1024));
        output.ended().await;
        assert!(output.text().len() <= MAX_BYTES + 1024);
        assert_eq!(output.mark(), Mark(9 * 16));
    }
}
