//! The proxy's metrics, scraped as Prometheus does.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use devcell::Cell;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Every series of a scrape with its value, in the order of their names.
pub type Scrape = BTreeMap<String, f64>;

/// Asks for `path` as Prometheus does.
pub async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Where the proxy says that it serves metrics.
pub async fn address(cell: &Cell) -> SocketAddr {
    cell.metrics_address().await.unwrap().parse().unwrap()
}

pub async fn scrape(address: SocketAddr) -> Scrape {
    let answer = get(address, "/metrics").await;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("Content-Type: application/openmetrics-text"),
        "{head}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// How often somebody was not let in for the reason `code`, at the edge or at login.
pub async fn refusals(cell: &Cell, code: &str) -> f64 {
    let label = format!("code=\"{code}\"}}");
    let counters = ["ssh_proxy_logins_total{", "ssh_proxy_turned_away_total{"];
    let scrape = scrape(address(cell).await).await;
    let counted = scrape.iter().filter(|(series, _)| {
        series.ends_with(&label) && counters.iter().any(|name| series.starts_with(name))
    });
    counted.map(|(_, value)| value).sum()
}
