//! The client's side of a copy.
//!
//! Owns the three streams: lines and bytes that come, answers in both directions, and what is told
//! to the client and its user. Keeps whether anything went wrong, which is the exit status. What the
//! lines mean is `message.rs`'s.
//!
//! An answer is a byte: 0 is yes; 1 is a warning and 2 the end, each with a line of text. Warnings
//! also come and go where a line of the protocol could.

use std::io;

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};

use super::Streams;
use super::message::Malformed;

/// Most bytes of a line from the client. A text may tell of a path, of up to 4,096 bytes, with each
/// byte written as four; all other lines are shorter.
const MAX_LINE: u64 = 20 * 1024;

/// What is read at once as long as lines are expected; contents go past this buffer.
const LINE_BUFFER: usize = 4096;

/// The copy cannot go on; whoever could be told has been told.
#[derive(Debug)]
pub(super) struct Ended;

impl From<io::Error> for Ended {
    /// Errors of the streams mean that the client is gone.
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<tokio::task::JoinError> for Ended {
    /// The runtime is shutting down.
    fn from(_: tokio::task::JoinError) -> Self {
        Self
    }
}

/// The client.
pub(super) struct Peer<R, W, E> {
    input: BufReader<R>,
    output: W,
    errors: E,
    failed: bool,
}

impl<R, W, E> Peer<R, W, E>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    pub(super) fn new(streams: Streams<R, W, E>) -> Self {
        Self {
            input: BufReader::with_capacity(LINE_BUFFER, streams.input),
            output: streams.output,
            errors: streams.errors,
            failed: false,
        }
    }

    /// Shuts both outputs down, and says whether all went well.
    pub(super) async fn close(mut self, complete: bool) -> bool {
        let output = self.output.shutdown().await;
        // Who has ignored the errors so far may ignore their end.
        _ = self.errors.shutdown().await;
        complete && !self.failed && output.is_ok()
    }

    /// The next byte; `None` at the end of the input.
    pub(super) async fn byte(&mut self) -> Result<Option<u8>, Ended> {
        let byte = self.input.fill_buf().await?.first().copied();
        self.input.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    /// What is left of a line. The end of the input is not the end of a line.
    pub(super) async fn line(&mut self) -> Result<Vec<u8>, Ended> {
        let mut line = Vec::new();
        let mut limited = (&mut self.input).take(MAX_LINE);
        limited.read_until(b'\n', &mut line).await?;
        if limited.limit() == 0 && !line.ends_with(b"\n") {
            return Err(self.misbehaved(Malformed::TooLong).await);
        }
        line.pop_if(|byte| *byte == b'\n').ok_or(Ended)?;
        Ok(line)
    }

    /// Fills `piece` to `size` bytes; false if the input ends before.
    pub(super) async fn fill(&mut self, piece: &mut Vec<u8>, size: usize) -> bool {
        let missing = size.saturating_sub(piece.len());
        let mut limited = (&mut self.input).take(u64::try_from(missing).unwrap_or(u64::MAX));
        while limited.limit() > 0 {
            // An error is as good an end as any.
            if limited.read_buf(piece).await.unwrap_or(0) == 0 {
                return false;
            }
        }
        true
    }

    /// Sends lines or contents.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.output.write_all(bytes).await?;
        Ok(self.output.flush().await?)
    }

    /// Answers yes.
    pub(super) async fn acknowledge(&mut self) -> Result<(), Ended> {
        self.send(&[0]).await
    }

    /// Waits for an answer. False is a warning: the client does not want what was announced.
    pub(super) async fn acknowledged(&mut self) -> Result<bool, Ended> {
        match self.byte().await?.ok_or(Ended)? {
            0 => Ok(true),
            1 => {
                let text = self.line().await?;
                self.complain_in_full(&text).await?;
                Ok(false)
            }
            2 => {
                let text = self.line().await?;
                self.complain_in_full(&text).await?;
                Err(Ended)
            }
            other => {
                let text = format!("unexpected answer: {}", other.escape_ascii());
                self.complain(text.as_bytes()).await?;
                Err(Ended)
            }
        }
    }

    /// A warning came where a line could; its 1 is read already.
    ///
    /// Its text is not repeated: a client that sends tells its user itself.
    pub(super) async fn warned(&mut self) -> Result<(), Ended> {
        self.failed = true;
        self.line().await.map(drop)
    }

    /// Tells the client that something was not copied, by a warning.
    pub(super) async fn warn(&mut self, text: &[u8]) -> Result<(), Ended> {
        self.failed = true;
        let mut line = b"\x01scp: ".to_vec();
        line.extend(text.iter().map(visible));
        line.push(b'\n');
        self.send(&line).await
    }

    /// Tells the client why the copy ends: it does not keep to the protocol.
    pub(super) async fn misbehaved(&mut self, why: Malformed) -> Ended {
        // If it cannot be told, it has ended all the same.
        _ = self.warn(format!("protocol error: {why}").as_bytes()).await;
        Ended
    }

    /// Tells the user something as scp.
    pub(super) async fn complain(&mut self, text: &[u8]) -> Result<(), Ended> {
        self.complain_in_full(&[b"scp: ", text].concat()).await
    }

    async fn complain_in_full(&mut self, text: &[u8]) -> Result<(), Ended> {
        self.failed = true;
        let line: Vec<u8> = text.iter().map(visible).chain([b'\n']).collect();
        self.errors.write_all(&line).await?;
        Ok(self.errors.flush().await?)
    }
}

/// A newline in a name would end the text, and other control characters could do worse to a terminal.
fn visible(byte: &u8) -> u8 {
    if byte.is_ascii_control() { b'?' } else { *byte }
}
