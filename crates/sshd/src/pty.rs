//! Pseudo terminals.
//!
//! Owns opening a pair without needing `/dev/pts` to be mounted where it belongs, its size and modes
//! (RFC 4254 sections 6.2, 6.7 and 8), and the master as a tokio stream. Who runs on the slave is
//! `process.rs`'s; `TERM` is an environment variable like others (`environment.rs`).

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::pty::{self, OpenptFlags};
use rustix::termios::{
    self, ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex,
    Termios, Winsize,
};
use ssh_proto::connection::pty::Modes;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sys;

/// Where the multiplexer is too, if `/dev/ptmx` is missing or stale.
const OTHER_PTMX: &str = "/dev/pts/ptmx";

/// Bytes that are read of a terminal whose leader has ended. Linux holds 12 KiB of what the leader wrote
/// before (8 on their way and 4 in the line discipline); more comes from others, who may never stop.
const MOST_AFTER_END: usize = 64 * 1024;

/// The size of a terminal in characters. Pixels are ignored, as in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub columns: u32,
    /// Height.
    pub rows: u32,
}

/// A pseudo terminal on which nothing runs yet.
#[derive(Debug)]
pub struct Pty {
    master: Arc<Master>,
    slave: OwnedFd,
}

impl Pty {
    /// Opens a pair, with the modes of an encoded list (RFC 4254 section 8) over the kernel's own.
    ///
    /// Must be called in a tokio runtime. Modes that the kernel refuses are left as they are.
    pub fn open(size: Size, encoded_modes: &[u8]) -> io::Result<Self> {
        let master = open_master()?;
        let slave = open_slave(&master)?;
        let pty = Self {
            master: Arc::new(Master::new(master)?),
            slave,
        };
        pty.master.resize(size)?;
        let mut termios = termios::tcgetattr(&pty.slave)?;
        for (opcode, value) in Modes::new(encoded_modes) {
            apply_mode(&mut termios, opcode, value);
        }
        _ = termios::tcsetattr(&pty.slave, OptionalActions::Now, &termios);
        Ok(pty)
    }

    /// Changes the size before anything runs.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        self.master.resize(size)
    }

    /// The user's end and the program's.
    pub(crate) fn into_parts(self) -> (Arc<Master>, OwnedFd) {
        (self.master, self.slave)
    }
}

/// The user's end of a terminal.
///
/// The terminal is hung up when the last reference is dropped: streams and [`crate::process::Child`].
#[derive(Debug)]
pub(crate) struct Master {
    fd: AsyncFd<OwnedFd>,
    /// Set once the session's leader has ended; see [`Master::leader_ended`].
    ended: AtomicBool,
    /// Whoever waits in a read that `ended` has to wake.
    reader: Mutex<Option<Waker>>,
}

impl Master {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self {
            fd: sys::epoll::register(fd)?,
            ended: AtomicBool::new(false),
            reader: Mutex::new(None),
        })
    }

    pub(crate) fn resize(&self, size: Size) -> io::Result<()> {
        let clamp = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let size = Winsize {
            ws_col: clamp(size.columns),
            ws_row: clamp(size.rows),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(termios::tcsetwinsize(self.fd.get_ref(), size)?)
    }

    /// The process group in the foreground, if there is one.
    pub(crate) fn foreground(&self) -> Option<Pid> {
        termios::tcgetpgrp(self.fd.get_ref()).ok()
    }

    /// From now on, the output ends where it would otherwise wait for more, and at the latest after
    /// [`MOST_AFTER_END`].
    ///
    /// Programs in the background may hold the terminal for ever, and write to it. The end of the shell
    /// is the end of the session all the same, and closing the terminal then hangs them up.
    pub(crate) fn leader_ended(&self) {
        self.ended.store(true, Ordering::Release);
        let waiting = self
            .reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Reads what there is; `left` bytes at most, and without waiting, once the leader has ended.
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        left: &mut usize,
    ) -> Poll<io::Result<()>> {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        loop {
            if self.ended.load(Ordering::Acquire) {
                return Poll::Ready(self.read_what_is_there(buf, left));
            }
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let result = guard.try_io(|fd| read(fd.get_ref(), buf, usize::MAX));
            if let Ok(result) = result {
                return Poll::Ready(result.map(drop));
            }
        }
    }

    /// Asks the kernel, which knows better than the readiness that tokio has seen: a read delivers
    /// everything written before it, even what is still on its way through the line discipline.
    fn read_what_is_there(&self, buf: &mut ReadBuf<'_>, left: &mut usize) -> io::Result<()> {
        match read(self.fd.get_ref(), buf, *left) {
            Ok(n) => {
                *left -= n;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            let write = |fd: &AsyncFd<OwnedFd>| Ok(rustix::io::write(fd.get_ref(), bytes)?);
            if let Ok(result) = guard.try_io(write) {
                return Poll::Ready(result);
            }
        }
    }
}

/// What the terminal shows.
#[derive(Debug)]
pub(crate) struct Reader {
    master: Arc<Master>,
    /// Bytes that may still be read once the leader has ended.
    left: usize,
}

impl Reader {
    pub(crate) fn new(master: Arc<Master>) -> Self {
        Self {
            master,
            left: MOST_AFTER_END,
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.master.poll_read(cx, buf, &mut this.left)
    }
}

/// What the user types.
#[derive(Debug)]
pub(crate) struct Writer(pub(crate) Arc<Master>);

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// A terminal has no half that could be closed: the user's end of file is a character (VEOF).
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn open_master() -> io::Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let other_flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = pty::openpt(flags)
        .or_else(|error| fs::open(OTHER_PTMX, other_flags, Mode::empty()).map_err(|_| error))?;
    pty::unlockpt(&master)?;
    Ok(master)
}

/// Asks the master for its other end, which needs no path; older kernels (< 4.13) need one.
fn open_slave(master: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    if let Ok(slave) = pty::ioctl_tiocgptpeer(master, flags) {
        return Ok(slave);
    }
    let path = pty::ptsname(master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(fs::open(path.as_c_str(), flags, Mode::empty())?)
}

/// Reads once, `most` bytes at most, and says how many. A terminal that nobody has open any more is at its
/// end, which Linux calls `EIO`.
fn read(fd: &OwnedFd, buf: &mut ReadBuf<'_>, most: usize) -> io::Result<usize> {
    let room = buf.remaining().min(most);
    match rustix::io::read(fd, buf.initialize_unfilled_to(room)) {
        Ok(n) => {
            buf.advance(n);
            Ok(n)
        }
        Err(Errno::IO) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Applies one mode. Unknown opcodes, those that Linux has not, and speeds change nothing.
fn apply_mode(termios: &mut Termios, opcode: u8, value: u32) {
    let on = value != 0;
    if let Some(index) = special_code(opcode) {
        // RFC 4254 section 8: 255 if none, which Linux calls 0 (`_POSIX_VDISABLE`).
        let code = u8::try_from(value).unwrap_or(u8::MAX);
        termios.special_codes[index] = if code == u8::MAX { 0 } else { code };
    } else if let Some(mode) = input_mode(opcode) {
        termios.input_modes.set(mode, on);
    } else if let Some(mode) = local_mode(opcode) {
        termios.local_modes.set(mode, on);
    } else if let Some(mode) = output_mode(opcode) {
        termios.output_modes.set(mode, on);
    } else {
        apply_control_mode(&mut termios.control_modes, opcode, on);
    }
}

fn special_code(opcode: u8) -> Option<SpecialCodeIndex> {
    Some(match opcode {
        1 => SpecialCodeIndex::VINTR,
        2 => SpecialCodeIndex::VQUIT,
        3 => SpecialCodeIndex::VERASE,
        4 => SpecialCodeIndex::VKILL,
        5 => SpecialCodeIndex::VEOF,
        6 => SpecialCodeIndex::VEOL,
        7 => SpecialCodeIndex::VEOL2,
        8 => SpecialCodeIndex::VSTART,
        9 => SpecialCodeIndex::VSTOP,
        10 => SpecialCodeIndex::VSUSP,
        12 => SpecialCodeIndex::VREPRINT,
        13 => SpecialCodeIndex::VWERASE,
        14 => SpecialCodeIndex::VLNEXT,
        18 => SpecialCodeIndex::VDISCARD,
        _ => return None,
    })
}

fn input_mode(opcode: u8) -> Option<InputModes> {
    Some(match opcode {
        30 => InputModes::IGNPAR,
        31 => InputModes::PARMRK,
        32 => InputModes::INPCK,
        33 => InputModes::ISTRIP,
        34 => InputModes::INLCR,
        35 => InputModes::IGNCR,
        36 => InputModes::ICRNL,
        38 => InputModes::IXON,
        39 => InputModes::IXANY,
        40 => InputModes::IXOFF,
        41 => InputModes::IMAXBEL,
        // RFC 8160; the reference does not know it, and its users' erase splits characters.
        42 => InputModes::IUTF8,
        _ => return None,
    })
}

fn local_mode(opcode: u8) -> Option<LocalModes> {
    Some(match opcode {
        50 => LocalModes::ISIG,
        51 => LocalModes::ICANON,
        53 => LocalModes::ECHO,
        54 => LocalModes::ECHOE,
        55 => LocalModes::ECHOK,
        56 => LocalModes::ECHONL,
        57 => LocalModes::NOFLSH,
        58 => LocalModes::TOSTOP,
        59 => LocalModes::IEXTEN,
        60 => LocalModes::ECHOCTL,
        61 => LocalModes::ECHOKE,
        62 => LocalModes::PENDIN,
        _ => return None,
    })
}

fn output_mode(opcode: u8) -> Option<OutputModes> {
    Some(match opcode {
        70 => OutputModes::OPOST,
        72 => OutputModes::ONLCR,
        73 => OutputModes::OCRNL,
        74 => OutputModes::ONOCR,
        75 => OutputModes::ONLRET,
        _ => return None,
    })
}

fn apply_control_mode(modes: &mut ControlModes, opcode: u8, on: bool) {
    match opcode {
        // The size is set whatever the value, and the last one wins, as in the reference.
        90 | 91 => {
            modes.remove(ControlModes::CSIZE);
            modes.insert(match opcode {
                90 => ControlModes::CS7,
                _ => ControlModes::CS8,
            });
        }
        92 => modes.set(ControlModes::PARENB, on),
        93 => modes.set(ControlModes::PARODD, on),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SIZE: Size = Size {
        columns: 80,
        rows: 24,
    };

    fn mode(opcode: u8, value: u32) -> Vec<u8> {
        let mut encoded = vec![opcode];
        encoded.extend(value.to_be_bytes());
        encoded
    }

    #[test]
    fn a_list_of_modes_ends_where_it_must() {
        let two = [mode(53, 0), mode(1, 3)].concat();
        let parsed = vec![(53, 0), (1, 3)];
        for tail in [
            &b""[..],
            &[0],
            &[0, 53, 0, 0, 0, 1],
            &[160, 0, 0, 0, 1],
            &[255],
        ] {
            let encoded = [&two, tail].concat();
            assert_eq!(Modes::new(&encoded).collect::<Vec<_>>(), parsed);
        }
        for cut in 0..5 {
            let encoded = [&two, &mode(2, 7)[..cut]].concat();
            assert_eq!(Modes::new(&encoded).collect::<Vec<_>>(), parsed);
        }
    }

    #[tokio::test]
    async fn modes_are_applied_over_the_defaults() {
        let encoded = [
            mode(1, 7),
            mode(4, 255),
            mode(42, 1),
            mode(53, 0),
            mode(72, 0),
            mode(128, 9600),
            mode(11, 1),
            mode(99, 1),
        ]
        .concat();
        let pty = Pty::open(SIZE, &encoded).unwrap();
        let termios = termios::tcgetattr(&pty.slave).unwrap();
        assert_eq!(termios.special_codes[SpecialCodeIndex::VINTR], 7);
        assert_eq!(termios.special_codes[SpecialCodeIndex::VKILL], 0);
        assert!(termios.input_modes.contains(InputModes::IUTF8));
        assert!(!termios.local_modes.contains(LocalModes::ECHO));
        assert!(termios.local_modes.contains(LocalModes::ICANON));
        assert!(!termios.output_modes.contains(OutputModes::ONLCR));
    }

    /// Asked of the value, since Linux keeps a pseudo terminal at 8 bits whatever it is told.
    #[tokio::test]
    async fn the_last_character_size_wins() {
        let pty = Pty::open(SIZE, &[]).unwrap();
        let mut termios = termios::tcgetattr(&pty.slave).unwrap();
        for (opcode, size) in [(90, ControlModes::CS7), (91, ControlModes::CS8)] {
            apply_mode(&mut termios, opcode, 0);
            assert_eq!(termios.control_modes & ControlModes::CSIZE, size);
        }
    }

    #[tokio::test]
    async fn sizes_are_kept_and_clamped() {
        let pty = Pty::open(SIZE, &[]).unwrap();
        for (size, columns, rows) in [
            (SIZE, 80, 24),
            (
                Size {
                    columns: 0,
                    rows: 0,
                },
                0,
                0,
            ),
            (
                Size {
                    columns: u32::MAX,
                    rows: 1,
                },
                u16::MAX,
                1,
            ),
        ] {
            pty.resize(size).unwrap();
            let kept = termios::tcgetwinsize(&pty.slave).unwrap();
            assert_eq!((kept.ws_col, kept.ws_row), (columns, rows));
        }
    }

    #[tokio::test]
    async fn the_output_ends_when_nobody_has_the_terminal() {
        let (master, slave) = Pty::open(SIZE, &[]).unwrap().into_parts();
        rustix::io::write(&slave, b"last words").unwrap();
        drop(slave);
        let mut text = String::new();
        Reader::new(master).read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "last words");
    }

    #[tokio::test]
    async fn the_output_ends_with_the_leader_while_others_hold_the_terminal() {
        let (master, slave) = Pty::open(SIZE, &[]).unwrap().into_parts();
        let mut reader = Reader::new(Arc::clone(&master));
        let read = tokio::spawn(async move {
            let mut text = String::new();
            reader.read_to_string(&mut text).await.unwrap();
            text
        });
        tokio::task::yield_now().await;
        rustix::io::write(&slave, b"last words").unwrap();
        master.leader_ended();
        assert_eq!(read.await.unwrap(), "last words");
        drop(slave);
    }

    #[tokio::test]
    async fn what_is_typed_arrives() {
        let (master, slave) = Pty::open(SIZE, &[]).unwrap().into_parts();
        let mut writer = Writer(master);
        writer.write_all(b"typed\n").await.unwrap();
        writer.shutdown().await.unwrap();
        let mut line = [0; 16];
        let n = rustix::io::read(&slave, &mut line).unwrap();
        assert_eq!(&line[..n], b"typed\n");
    }
}
