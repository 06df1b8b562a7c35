//! The messages of each key exchange method (RFC 5656, RFC 8731, ML-KEM hybrids), made for the exchange
//! in which they come.

use ssh_proto::algorithm::Kex;
use ssh_proto::transport::Role;

use crate::sample::{Sample, report};
use crate::support::peer::{Offer, Peer};
use crate::transport::end;

/// Both KEXINITs are there.
fn begun(role: Role, kex: Kex) -> Peer {
    let mut peer = Peer::new(
        role,
        Offer {
            kex,
            ..Offer::default()
        },
    );
    peer.identify();
    peer.say_kexinit();
    peer.poll().unwrap();
    peer.heard();
    peer
}

/// The peer's part of the exchange.
fn message(peer: &mut Peer) -> Sample {
    let layout = match peer.role {
        Role::Server => "bs",
        Role::Client => "b(ss)s(ss)",
    };
    let name = format!("{} to a {:?}", peer.offer.kex.name(), peer.role);
    Sample::new(&name, layout, peer.kex_message())
}

#[test]
fn values_of_each_method() {
    let mut cases = 0;
    for kex in Kex::ALL {
        for role in [Role::Client, Role::Server] {
            for change in message(&mut begun(role, *kex)).changes() {
                let mut peer = begun(role, *kex);
                let sample = message(&mut peer);
                sample.check(change, |bytes| {
                    peer.say(bytes);
                    end(&mut peer)
                });
                cases += 1;
            }
        }
    }
    report(cases, 4200);
}

#[test]
fn newkeys() {
    let mut cases = 0;
    for role in [Role::Client, Role::Server] {
        let sample = Sample::new("NEWKEYS", "b", vec![ssh_proto::msg::NEWKEYS]);
        for change in sample.changes() {
            let mut peer = begun(role, Kex::Curve25519);
            peer.say_kex_message();
            peer.poll().unwrap();
            peer.heard();
            sample.check(change, |bytes| {
                peer.say(bytes);
                end(&mut peer)
            });
            cases += 1;
        }
    }
    report(cases, 6);
}
