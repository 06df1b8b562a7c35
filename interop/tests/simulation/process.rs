//! One scripted program, or whoever is at the other end of a tunnel.

use ssh_tokio::session::Pipes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::UnboundedSender;

use super::plan::{Channel, Ends, Kind};
use super::wire::pause;
use super::{Dice, Lane, Trace, bytes};

/// What a program has seen of its input.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Input {
    /// Bytes that it has read, each as it was sent.
    pub(crate) read: usize,
    /// Whether it has seen the end.
    pub(crate) ended: bool,
}

/// One scripted program.
pub(crate) struct Process {
    pub(crate) index: usize,
    pub(crate) plan: Channel,
    pub(crate) trace: Trace,
    input: DuplexStream,
    output: DuplexStream,
    errors: DuplexStream,
    dice: Dice,
}

impl Process {
    /// A program of the channel with this index, and what its channel is to be joined to.
    pub(crate) fn new(index: usize, plan: Channel, trace: Trace, mut dice: Dice) -> (Self, Pipes) {
        let mut pipe = || duplex(dice.pick(&[1, 50, 1000, 1 << 16]));
        let (sink, input) = pipe();
        let (output, source) = pipe();
        let (errors, error_source) = pipe();
        let is_session = plan.kind == Kind::Session;
        let pipes = Pipes {
            sink: Some(Box::new(sink)),
            source: Some(Box::new(source)),
            errors: is_session.then(|| Box::new(error_source) as _),
        };
        let process = Self {
            index,
            plan,
            trace,
            input,
            output,
            errors,
            dice,
        };
        (process, pipes)
    }

    /// Runs it; `exits` learns of its end.
    pub(crate) async fn run(mut self, exits: UnboundedSender<usize>) -> Input {
        // The daemon may be gone before the last of them.
        let exit = || _ = exits.send(self.index);
        let mut dice = Dice::new(self.dice.below(1 << 30) as u64, 0);
        let write = write(
            &self.plan,
            self.index,
            [self.output, self.errors],
            &mut self.dice,
        );
        let mut seen = Input::default();
        let read = read(&self.plan, self.index, self.input, &mut dice, &mut seen);
        match self.plan.ends {
            _ if self.plan.kind != Kind::Session => _ = tokio::join!(write, read),
            Ends::AfterInput => {
                tokio::join!(write, read);
                exit();
            }
            Ends::AfterOutput => {
                tokio::select! {
                    biased;
                    () = write => {}
                    () = async { read.await; std::future::pending().await } => {}
                }
                exit();
            }
            Ends::BeforeOutput => {
                exit();
                tokio::join!(write, read);
            }
        }
        self.trace
            .note("program", format_args!("{} ends, {seen:?}", self.index));
        seen
    }
}

/// Writes both streams, in turns, and drops them; stops where nobody reads them any more.
async fn write(plan: &Channel, index: usize, streams: [DuplexStream; 2], dice: &mut Dice) {
    let [output, errors] = streams;
    let mut lanes = vec![
        (Lane::Output, output, 0, plan.output),
        (Lane::Errors, errors, 0, plan.errors),
    ];
    while !lanes.is_empty() {
        let turn = dice.below(lanes.len());
        let (lane, stream, written, total) = &mut lanes[turn];
        let length = (1 + dice.below(plan.chunk)).min(*total - *written);
        let chunk = bytes(index, *lane, *written, length);
        *written += length;
        let is_last = written == total;
        if stream.write_all(&chunk).await.is_err() || is_last {
            lanes.swap_remove(turn);
        }
        pause(dice, plan.slow).await;
    }
}

/// Reads and compares, up to the end or to where it is planned to hang up.
async fn read(
    plan: &Channel,
    index: usize,
    mut input: DuplexStream,
    dice: &mut Dice,
    seen: &mut Input,
) {
    let mut buffer = vec![0; plan.chunk];
    while plan.reads.is_none_or(|reads| seen.read < reads) {
        let most = 1 + dice.below(plan.chunk);
        let length = input.read(&mut buffer[..most]).await.unwrap();
        let expected = bytes(index, Lane::Input, seen.read, length);
        assert!(
            buffer[..length] == expected,
            "input of channel {index} at {}",
            seen.read
        );
        seen.read += length;
        if length == 0 {
            seen.ended = true;
            return;
        }
        pause(dice, plan.slow).await;
    }
}
