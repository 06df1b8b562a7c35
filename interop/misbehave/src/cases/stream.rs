//! What an application behind a channel says, as a stream of bytes: for rows of sftp and scp.

use ssh_proto::msg;
use ssh_proto::wire::Reader;

use crate::end::End;
use crate::payload::data;
use crate::peer::Peer;

/// RFC 4254 section 5.2: no more than this in a packet.
const CHUNK: usize = 32 * 1024;

/// The open channel.
pub(super) struct Stream<'a> {
    peer: &'a mut Peer,
    unread: Vec<u8>,
}

impl<'a> Stream<'a> {
    /// Of which nothing was read.
    pub(super) fn new(peer: &'a mut Peer) -> Self {
        let unread = Vec::new();
        Self { peer, unread }
    }

    /// Sends bytes to the application.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.write_in(bytes, CHUNK)
    }

    /// Sends bytes to the application, so many in a packet.
    pub(super) fn write_in(&mut self, bytes: &[u8], size: usize) -> Result<(), End> {
        let channel = self.peer.channel.ok_or(End::Garbled("no channel"))?;
        let mut chunks = bytes.chunks(size);
        chunks.try_for_each(|chunk| self.peer.say(&data(channel, chunk)))
    }

    /// The next bytes of the application.
    pub(super) fn read(&mut self, count: usize) -> Result<Vec<u8>, End> {
        while self.unread.len() < count {
            self.fill()?;
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// The next bytes up to a line end, and without it.
    pub(super) fn read_line(&mut self) -> Result<Vec<u8>, End> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(line.strip_suffix(b"\n").unwrap_or(&line).to_vec());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), End> {
        let wanted = [msg::CHANNEL_DATA, msg::CHANNEL_CLOSE];
        let payload = self.peer.wait_for(&wanted)?;
        if payload.first() == Some(&msg::CHANNEL_CLOSE) {
            return Err(End::Unlike("with the end of the channel".to_owned()));
        }
        let mut reader = Reader::new(payload.get(5..).unwrap_or_default());
        let bytes = reader.string().map_err(|_| End::Garbled("CHANNEL_DATA"))?;
        self.unread.extend_from_slice(bytes);
        Ok(())
    }
}
