//! The text that Prometheus scrapes: what was counted, and what is read off when somebody asks.
//!
//! Source: the OpenMetrics specification, version 1.0.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;

use super::{Label, Metrics};
use crate::audit::Audit;
use crate::platform::loggregator::Emitter;
use crate::relay::observe::ChannelKind;
use crate::server;
use crate::sessions::Sessions;

/// Before the names of all metrics of our own.
const PREFIX: &str = "ssh_proxy";

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where Linux tells about a process.
const STATUS: &str = "/proc/self/status";
const DESCRIPTORS: &str = "/proc/self/fd";

/// All metrics, ready to be scraped.
#[derive(Debug, Clone)]
pub(crate) struct Exposition(Arc<Registry>);

/// What is read off.
#[derive(Debug)]
struct Readings {
    sessions: Arc<Sessions>,
    emitter: Emitter,
    audit: Arc<Audit>,
}

/// What every process tells, under the names that all of them use.
#[derive(Debug)]
struct Process {
    started: Duration,
}

impl Exposition {
    /// What `metrics` count, and what the others know.
    pub(crate) fn new(
        metrics: &Metrics,
        sessions: Arc<Sessions>,
        emitter: Emitter,
        audit: Arc<Audit>,
    ) -> Self {
        let mut registry = Registry::default();
        let ours = registry.sub_registry_with_prefix(PREFIX);
        metrics.register(ours);
        ours.register_collector(Box::new(Readings {
            sessions,
            emitter,
            audit,
        }));
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        registry.register_collector(Box::new(Process { started }));
        Self(Arc::new(registry))
    }

    /// Serves on `listener`; ends only by being dropped.
    pub(crate) async fn serve(self, listener: TcpListener) {
        server::serve(listener, move |request| {
            let response = self.answer(&request);
            async move { response }
        })
        .await;
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match (request.uri().path(), request.method()) {
            ("/metrics", &Method::GET) => self.scraped(),
            ("/metrics", _) => server::wrong_method("GET"),
            _ => server::not_found(),
        }
    }

    fn scraped(&self) -> Response<Full<Bytes>> {
        let mut content = String::new();
        if text::encode(&mut content, &self.0).is_err() {
            return server::empty(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let mut response = Response::new(Full::new(Bytes::from(content)));
        let kind = HeaderValue::from_static(OPEN_METRICS);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let totals = self.sessions.totals();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let mut build = encoder.encode_descriptor(
            "build_info",
            "The version of the program",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(1i64).encode(build.encode_family(&version)?)?;
        let open = i64::try_from(totals.open).unwrap_or(i64::MAX);
        gauge(&mut encoder, "sessions", "Users who are in", open)?;
        let mut channels = encoder.encode_descriptor(
            "channels",
            "Channels that are open, by kind",
            None,
            MetricType::Gauge,
        )?;
        for (kind, count) in ChannelKind::ALL.into_iter().zip(totals.channels) {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(channels.encode_family(&[("kind", kind.name())])?)?;
        }
        let mut bytes = encoder.encode_descriptor(
            "bytes",
            "Payload bytes in sessions: up from users, down to them",
            None,
            MetricType::Counter,
        )?;
        count(&mut bytes, ("direction", "up"), totals.bytes_up)?;
        count(&mut bytes, ("direction", "down"), totals.bytes_down)?;
        let mut dropped = encoder.encode_descriptor(
            "dropped",
            "What a queue had no room for",
            None,
            MetricType::Counter,
        )?;
        count(&mut dropped, ("queue", "audit"), self.audit.dropped())?;
        count(
            &mut dropped,
            ("queue", "loggregator"),
            self.emitter.dropped(),
        )
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = Duration::new(
            u64::try_from(cpu.tv_sec).unwrap_or_default(),
            u32::try_from(cpu.tv_nsec).unwrap_or_default(),
        );
        let time = encoder.encode_descriptor(
            "process_cpu_seconds",
            "Processor time, user and system",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(cpu.as_secs_f64()).encode(time)?;
        let start = encoder.encode_descriptor(
            "process_start_time_seconds",
            "When the process began, in seconds since 1970",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(self.started.as_secs_f64()).encode(start)?;
        let status = fs::read_to_string(STATUS).unwrap_or_default();
        let resident = super::rounds::kilobytes(&status, "VmRSS:").unwrap_or_default();
        let resident = i64::from(resident) * 1024;
        let help = "Memory that is resident";
        gauge(
            &mut encoder,
            "process_resident_memory_bytes",
            help,
            resident,
        )?;
        let open = fs::read_dir(DESCRIPTORS).map_or(0, Iterator::count);
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        gauge(&mut encoder, "process_open_fds", "Open descriptors", open)?;
        let most = getrlimit(Resource::Nofile).current;
        let most = most.and_then(|most| i64::try_from(most).ok());
        let most = most.unwrap_or(i64::MAX);
        gauge(
            &mut encoder,
            "process_max_fds",
            "Descriptors that may be open",
            most,
        )
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(descriptor)
}

fn count(family: &mut MetricEncoder<'_>, label: Label, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(family.encode_family(&[label])?)
}
