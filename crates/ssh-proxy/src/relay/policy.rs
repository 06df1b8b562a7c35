//! What users may do beyond getting in, by the will of the platform's operator.
//!
//! Judged on the client's control packets as they pass: opening channels (RFC 4254 sections 6.1 and
//! 7.2), starting something on them (section 6.5), and asking for listeners (section 7.1, OpenSSH's
//! PROTOCOL section 2.4). Data packets are never looked at, and where everything is allowed nothing is.
//! How a refusal is put is the ledger's.

use ssh_proto::msg;
use ssh_proto::wire::{Malformed, Reader};

use super::targets::Targets;

/// Something that a user may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// An interactive shell.
    Shell,
    /// Commands, and subsystems other than sftp. `rsync` and a file server by its path are commands.
    Exec,
    /// The subsystem sftp, and `scp` as a command: the daemon serves both without a shell.
    Files,
    /// Connections from the client through the container, `-L`, `-D` and `-W`.
    LocalForwarding,
    /// Listeners in the container, `-R`.
    RemoteForwarding,
    /// Unix sockets, in both directions.
    StreamlocalForwarding,
    /// The user's agent, `-A`.
    AgentForwarding,
    /// X11, `-X`.
    X11Forwarding,
    /// A target that is not in `forward_targets`.
    ForwardTarget,
}

impl Capability {
    /// How many there are.
    pub(crate) const COUNT: usize = 9;

    /// Its place in a table of [`Self::COUNT`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The key in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Exec => "exec",
            Self::Files => "files",
            Self::LocalForwarding => "local_forwarding",
            Self::RemoteForwarding => "remote_forwarding",
            Self::StreamlocalForwarding => "streamlocal_forwarding",
            Self::AgentForwarding => "agent_forwarding",
            Self::X11Forwarding => "x11_forwarding",
            Self::ForwardTarget => "forward_targets",
        }
    }
}

/// What is allowed.
#[derive(Debug, Clone)]
pub struct Policy {
    allowed: [bool; Capability::COUNT],
    targets: Option<Targets>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allowed: [true; Capability::COUNT],
            targets: None,
        }
    }
}

impl Policy {
    /// Takes `capability` away.
    pub fn deny(&mut self, capability: Capability) {
        if let Some(allowed) = self.allowed.get_mut(capability.index()) {
            *allowed = false;
        }
    }

    /// Allows connections from the client to `targets` alone.
    pub(crate) fn restrict_targets(&mut self, targets: Targets) {
        self.targets = Some(targets);
    }

    /// Whether there is anything to judge.
    pub(super) fn restricts(&self) -> bool {
        self.targets.is_some() || self.allowed.contains(&false)
    }

    fn allows(&self, capability: Capability) -> bool {
        self.allowed.get(capability.index()) == Some(&true)
    }

    /// The capability that a control packet of the client lacks, if it lacks one.
    ///
    /// # Errors
    /// The packet is cut short where the judgement would need to read on.
    pub(super) fn lacks(&self, payload: &[u8]) -> Result<Option<Capability>, Malformed> {
        let mut reader = Reader::new(payload);
        let wanted = match reader.u8()? {
            msg::GLOBAL_REQUEST => match reader.string()? {
                b"tcpip-forward" => Capability::RemoteForwarding,
                b"streamlocal-forward@openssh.com" => Capability::StreamlocalForwarding,
                _ => return Ok(None),
            },
            msg::CHANNEL_OPEN => match reader.string()? {
                b"direct-tcpip" => return self.lacks_for_connection(reader),
                b"direct-streamlocal@openssh.com" => Capability::StreamlocalForwarding,
                _ => return Ok(None),
            },
            msg::CHANNEL_REQUEST => match wanted_on_channel(reader)? {
                Some(wanted) => wanted,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok((!self.allows(wanted)).then_some(wanted))
    }

    /// `reader` stands behind the type of the channel.
    fn lacks_for_connection(
        &self,
        mut reader: Reader<'_>,
    ) -> Result<Option<Capability>, Malformed> {
        if !self.allows(Capability::LocalForwarding) {
            return Ok(Some(Capability::LocalForwarding));
        }
        let Some(targets) = &self.targets else {
            return Ok(None);
        };
        for _number_window_and_packet_size in 0..3 {
            reader.u32()?;
        }
        let (host, port) = (reader.string()?, reader.u32()?);
        Ok((!targets.contain(host, port)).then_some(Capability::ForwardTarget))
    }
}

/// What a channel request needs; `reader` stands behind the message number.
fn wanted_on_channel(mut reader: Reader<'_>) -> Result<Option<Capability>, Malformed> {
    reader.u32()?;
    let name = reader.string()?;
    reader.bool()?;
    Ok(Some(match name {
        b"shell" => Capability::Shell,
        b"exec" if is_scp(reader.string()?) => Capability::Files,
        b"exec" => Capability::Exec,
        b"subsystem" if reader.string()? == b"sftp" => Capability::Files,
        b"subsystem" => Capability::Exec,
        b"auth-agent-req@openssh.com" => Capability::AgentForwarding,
        b"x11-req" => Capability::X11Forwarding,
        _ => return Ok(None),
    }))
}

/// Whether the daemon runs `command` as scp, without a shell. Both daemons decide as this does: by the
/// first word. A looser reading here would let commands pass as files.
fn is_scp(command: &[u8]) -> bool {
    command
        .trim_ascii_start()
        .strip_prefix(b"scp")
        .is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

#[cfg(test)]
mod tests {
    use ssh_proto::wire::Put;

    use super::*;

    fn without(capability: Capability) -> Policy {
        let mut policy = Policy::default();
        policy.deny(capability);
        policy
    }

    fn on_channel(name: &str, fields: &[&str]) -> Vec<u8> {
        let mut payload = vec![msg::CHANNEL_REQUEST];
        payload.put_u32(7);
        payload.put_string(name.as_bytes());
        payload.put_bool(true);
        for field in fields {
            payload.put_string(field.as_bytes());
        }
        payload
    }

    fn global(name: &str) -> Vec<u8> {
        let mut payload = vec![msg::GLOBAL_REQUEST];
        payload.put_string(name.as_bytes());
        payload.put_bool(true);
        payload
    }

    fn open(kind: &str, host: &str, port: u32) -> Vec<u8> {
        let mut payload = vec![msg::CHANNEL_OPEN];
        payload.put_string(kind.as_bytes());
        for number in [1, 2, 3] {
            payload.put_u32(number);
        }
        payload.put_string(host.as_bytes());
        payload.put_u32(port);
        payload
    }

    #[test]
    fn each_capability_is_lacking_for_its_packets_alone() {
        use Capability::*;
        let packets = [
            (on_channel("shell", &[]), Some(Shell)),
            (on_channel("exec", &["ls"]), Some(Exec)),
            (on_channel("exec", &["rsync --server"]), Some(Exec)),
            (
                on_channel("exec", &["/usr/lib/openssh/sftp-server"]),
                Some(Exec),
            ),
            (on_channel("exec", &["/usr/bin/scp -t x"]), Some(Exec)),
            (on_channel("exec", &["scpx"]), Some(Exec)),
            (on_channel("exec", &["scp;id"]), Some(Exec)),
            (on_channel("exec", &["scp"]), Some(Files)),
            (on_channel("exec", &[" \tscp -f x"]), Some(Files)),
            (on_channel("subsystem", &["sftp"]), Some(Files)),
            (on_channel("subsystem", &["netconf"]), Some(Exec)),
            (
                on_channel("auth-agent-req@openssh.com", &[]),
                Some(AgentForwarding),
            ),
            (on_channel("x11-req", &[]), Some(X11Forwarding)),
            (on_channel("pty-req", &[]), None),
            (on_channel("env", &["A", "b"]), None),
            (on_channel("window-change", &[]), None),
            (global("tcpip-forward"), Some(RemoteForwarding)),
            (global("cancel-tcpip-forward"), None),
            (
                global("streamlocal-forward@openssh.com"),
                Some(StreamlocalForwarding),
            ),
            (global("keepalive@openssh.com"), None),
            (open("direct-tcpip", "h", 1), Some(LocalForwarding)),
            (
                open("direct-streamlocal@openssh.com", "/s", 0),
                Some(StreamlocalForwarding),
            ),
            (open("session", "", 0), None),
            (vec![msg::CHANNEL_CLOSE, 0, 0, 0, 7], None),
            (vec![msg::REQUEST_SUCCESS], None),
        ];
        let all = [
            Shell,
            Exec,
            Files,
            LocalForwarding,
            RemoteForwarding,
            StreamlocalForwarding,
            AgentForwarding,
            X11Forwarding,
        ];
        for (packet, needed) in &packets {
            for denied in all {
                let lacking = (*needed == Some(denied)).then_some(denied);
                assert_eq!(without(denied).lacks(packet), Ok(lacking), "{packet:?}");
            }
            assert_eq!(Policy::default().lacks(packet), Ok(None));
        }
        assert!(!Policy::default().restricts() && without(Shell).restricts());
    }

    #[test]
    fn targets_are_judged_where_forwarding_is_allowed() {
        let mut policy = Policy::default();
        policy.restrict_targets(Targets::parse(&["10.0.0.0/8:5432".to_owned()]).unwrap());
        assert!(policy.restricts());
        let lacks = |policy: &Policy, host, port| policy.lacks(&open("direct-tcpip", host, port));
        assert_eq!(lacks(&policy, "10.1.2.3", 5432), Ok(None));
        let target = Ok(Some(Capability::ForwardTarget));
        assert_eq!(lacks(&policy, "10.1.2.3", 22), target);
        assert_eq!(lacks(&policy, "11.1.2.3", 5432), target);
        policy.deny(Capability::LocalForwarding);
        let forwarding = Ok(Some(Capability::LocalForwarding));
        assert_eq!(lacks(&policy, "10.1.2.3", 5432), forwarding);
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        let mut policy = without(Capability::Exec);
        policy.restrict_targets(Targets::parse(&["*:1".to_owned()]).unwrap());
        for packet in [on_channel("exec", &["ls"]), open("direct-tcpip", "h", 1)] {
            let (_, cut) = packet.split_last().unwrap();
            assert_eq!(policy.lacks(cut), Err(Malformed));
        }
    }
}
