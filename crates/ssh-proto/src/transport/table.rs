//! What becomes of each message number in each state: the one place that decides it.
//!
//! | numbers            | first kex | until authenticated      | afterwards          |
//! |--------------------|-----------|--------------------------|---------------------|
//! | 1                  | accept    | accept                   | accept              |
//! | 2-4                | accept, strict: cut | accept         | accept              |
//! | 5, 6               | cut       | 5 server, 6 client       | unimplemented       |
//! | 7                  | cut       | accept                   | cut                 |
//! | 20, 21, 30-49      | accept    | 21 and 30-49 end the first kex; 20: cut | accept |
//! | 50                 | cut       | server                   | server: ignore      |
//! | 51-53, 60          | cut       | client                   | cut                 |
//! | other 50-79        | cut       | cut                      | unimplemented       |
//! | 80-82, 90-100      | cut       | cut                      | accept              |
//! | 192, 193           | cut       | cut                      | accept              |
//! | all others         | cut       | cut                      | unimplemented       |
//!
//! While the peer is keying (its KEXINIT came, its NEWKEYS has not) only 1-4, 21 and 30-49 may come
//! (RFC 4253 section 7.1). Whether a kex message fits the step of the exchange is the exchange's to say.

use super::Role;
use crate::msg;

/// How far the connection has come, as far as messages of the peer are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing from the peer is encrypted yet.
    FirstKex {
        /// True from the moment that strict key exchange was agreed.
        strict: bool,
    },
    /// Encrypted; no user is authenticated.
    Authentication,
    /// A user is authenticated.
    Open,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Someone wants it.
    Accept,
    /// It is dropped without a word, as the RFCs ask.
    Ignore,
    /// It is answered with SSH_MSG_UNIMPLEMENTED.
    Unimplemented,
    /// It ends the connection.
    Cut,
}

/// What becomes of message `number` when the peer of `role` sends it.
pub fn verdict(role: Role, stage: Stage, peer_keying: bool, number: u8) -> Verdict {
    use Verdict::{Accept, Cut, Ignore, Unimplemented};
    let in_kex = matches!(number, msg::NEWKEYS | 30..=49);
    match (stage, number) {
        (_, msg::DISCONNECT) => Accept,
        (Stage::FirstKex { strict: true }, msg::IGNORE..=msg::DEBUG) => Cut,
        (_, msg::IGNORE..=msg::DEBUG) => Accept,
        _ if peer_keying => {
            if in_kex {
                Accept
            } else {
                Cut
            }
        }
        (Stage::FirstKex { .. }, msg::KEXINIT) => Accept,
        (Stage::FirstKex { .. }, _) => Cut,
        (Stage::Authentication, msg::EXT_INFO) => Accept,
        (Stage::Authentication, msg::SERVICE_REQUEST | msg::USERAUTH_REQUEST) => {
            if role == Role::Server { Accept } else { Cut }
        }
        (
            Stage::Authentication,
            msg::SERVICE_ACCEPT
            | msg::USERAUTH_FAILURE
            | msg::USERAUTH_SUCCESS
            | msg::USERAUTH_BANNER
            | msg::USERAUTH_PK_OK,
        ) => {
            if role == Role::Client {
                Accept
            } else {
                Cut
            }
        }
        (Stage::Authentication, _) => Cut,
        (Stage::Open, msg::KEXINIT) => Accept,
        // Their step is over: a NEWKEYS or a kex reply that nobody asked for.
        (Stage::Open, msg::NEWKEYS | 30..=49 | msg::EXT_INFO) => Cut,
        // RFC 4252 section 5.1: further requests are silently ignored.
        (Stage::Open, msg::USERAUTH_REQUEST) if role == Role::Server => Ignore,
        (
            Stage::Open,
            msg::USERAUTH_FAILURE
            | msg::USERAUTH_SUCCESS
            | msg::USERAUTH_BANNER
            | msg::USERAUTH_PK_OK,
        ) => Cut,
        (Stage::Open, msg::GLOBAL_REQUEST..=msg::REQUEST_FAILURE) => Accept,
        (Stage::Open, msg::CHANNEL_OPEN..=msg::CHANNEL_FAILURE) => Accept,
        (Stage::Open, msg::PING | msg::PONG) => Accept,
        (Stage::Open, _) => Unimplemented,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All 256 numbers that a state does not cut, written out once more.
    fn survivors(role: Role, stage: Stage, keying: bool, wanted: Verdict) -> Vec<u8> {
        (0..=255)
            .filter(|number| verdict(role, stage, keying, *number) == wanted)
            .collect()
    }

    #[test]
    fn first_kex_takes_kexinit_and_nothing_of_later_layers() {
        for role in [Role::Client, Role::Server] {
            let loose = Stage::FirstKex { strict: false };
            assert_eq!(
                survivors(role, loose, false, Verdict::Accept),
                [1, 2, 3, 4, 20]
            );
            let strict = Stage::FirstKex { strict: true };
            let kex: Vec<u8> = [1, 21].into_iter().chain(30..=49).collect();
            assert_eq!(survivors(role, strict, true, Verdict::Accept), kex);
        }
    }

    #[test]
    fn before_authentication_only_the_messages_of_that_layer() {
        let stage = Stage::Authentication;
        assert_eq!(
            survivors(Role::Server, stage, false, Verdict::Accept),
            [1, 2, 3, 4, 5, 7, 50]
        );
        assert_eq!(
            survivors(Role::Client, stage, false, Verdict::Accept),
            [1, 2, 3, 4, 6, 7, 51, 52, 53, 60]
        );
        assert!(survivors(Role::Server, stage, false, Verdict::Unimplemented).is_empty());
        assert!(survivors(Role::Server, stage, false, Verdict::Ignore).is_empty());
    }

    #[test]
    fn afterwards_the_connection_protocol_is_open() {
        let open: Vec<u8> = [1, 2, 3, 4, 20, 80, 81, 82]
            .into_iter()
            .chain(90..=100)
            .chain([192, 193])
            .collect();
        for role in [Role::Client, Role::Server] {
            assert_eq!(survivors(role, Stage::Open, false, Verdict::Accept), open);
        }
        assert_eq!(
            survivors(Role::Server, Stage::Open, false, Verdict::Ignore),
            [50]
        );
        assert!(survivors(Role::Client, Stage::Open, false, Verdict::Ignore).is_empty());
        assert_eq!(
            verdict(Role::Server, Stage::Open, false, msg::USERAUTH_SUCCESS),
            Verdict::Cut
        );
        assert_eq!(
            verdict(Role::Client, Stage::Open, false, 200),
            Verdict::Unimplemented
        );
    }

    #[test]
    fn a_keying_peer_may_send_only_kex_messages() {
        let kex: Vec<u8> = [1, 2, 3, 4, 21].into_iter().chain(30..=49).collect();
        for role in [Role::Client, Role::Server] {
            assert_eq!(survivors(role, Stage::Open, true, Verdict::Accept), kex);
            assert!(survivors(role, Stage::Open, true, Verdict::Unimplemented).is_empty());
        }
    }
}
