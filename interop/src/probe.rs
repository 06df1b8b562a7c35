//! The one command that every peer runs, and what has to come of it.
//!
//! Any shell runs [`COMMAND`]; servers in this process know it by heart. It moves data both ways at
//! once, writes to standard error and has a status of its own: whatever a session can do wrong shows.

/// The command.
pub const COMMAND: &str = "cat; echo end >&2; exit 7";

/// What it writes to standard error.
pub const STDERR: &str = "end\n";

/// Its exit status.
pub const STATUS: u32 = 7;

/// What one run of the command gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, where it can be seen: our own client drops it.
    pub stderr: Option<String>,
    /// The exit status, if one came.
    pub status: Option<u32>,
}

impl Answer {
    /// Checks the answer to a probe that was sent `input`.
    ///
    /// # Panics
    /// It is not what the command gives.
    pub fn check(&self, input: &[u8]) {
        assert_eq!(self.status, Some(STATUS), "exit status; {:?}", self.stderr);
        assert_eq!(self.stdout.len(), input.len(), "length of the output");
        let wrong = self.stdout.iter().zip(input).position(|(a, b)| a != b);
        assert_eq!(wrong, None, "first byte that differs");
        if let Some(stderr) = &self.stderr {
            assert_eq!(stderr, STDERR, "standard error");
        }
    }
}

/// `length` bytes that repeat nowhere, so that a piece in the wrong place is seen. The same each time.
pub fn data(length: usize) -> Vec<u8> {
    // SplitMix64.
    let word = |index: u64| {
        let mut z = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    };
    let mut data: Vec<u8> = (1..=length as u64 / 8 + 1).flat_map(word).collect();
    data.truncate(length);
    data
}
