//! Certificates of the platform that are exchanged while the proxy runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::fs;

use devcell::certs::{Authority, Request};
use devcell::rig::CcAccess;
use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::Value;
use ssh_proto::Error;

/// A cell with the realm `cf:`, whose proxy shows Cloud Controller who it is.
async fn cell() -> Cell {
    let options = CellOptions {
        cf_auth: true,
        cc_access: CcAccess::MutualTls,
        ..options()
    };
    Cell::start(options).await.unwrap()
}

/// Logs in with a new code.
async fn login(cell: &Cell) -> Result<bool, Error> {
    let login = cell.cf_login(0).unwrap();
    let mut raw = Raw::served(cell.proxy_address()).await;
    raw.try_password(&login.user, &login.password).await
}

/// The file that a key of the proxy's configuration names.
fn named_by(cell: &Cell, key: &str) -> String {
    let config = fs::read(cell.proxy_config()).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    config[key].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_ca_counts_without_a_restart() {
    let cell = cell().await;
    let successor = Authority::new("the next CA").unwrap();
    let identity = successor.issue(&Request::server(&["localhost"])).unwrap();
    cell.uaa().show(&identity).unwrap();
    let refused = login(&cell).await.unwrap_err().to_string();
    assert!(refused.contains("[platform_unavailable]"), "{refused}");

    // Both, as operators have it for a while.
    let file = named_by(&cell, "uaa_ca_cert");
    let old = fs::read_to_string(&file).unwrap();
    fs::write(&file, old + &successor.certificate_pem()).unwrap();
    // Files are looked at every few seconds; whoever fails waits a moment each time.
    within("the new CA", async {
        while login(&cell).await != Ok(true) {}
    })
    .await;
    let reread = cell.proxy().wait_for_log("certificates-reread").await;
    reread.unwrap();
    cell.stop().await;
}
