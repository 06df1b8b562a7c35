//! The way into the logs and metrics of the platform: envelopes for the loggregator agent of this
//! machine, over gRPC.
//!
//! At the start the agent must be there, as in the system that we replace. From then on it does not
//! matter to anybody: an [`Emitter`] never waits, and one task behind the [`queue`] sends, notices
//! that the agent is dead or stuck, and looks for it again.

pub(crate) mod agent;
mod envelope;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::settings::loggregator::LoggregatorSettings;
use agent::{Agent, DIAL_TIMEOUT, SILENT};
pub(crate) use envelope::Tags;
use envelope::{Content, Counter, Envelope, Gauge, GaugeValue, Log};
use queue::Queue;

/// Between attempts at the start: the agent may be starting just now, too.
const START_PAUSE: Duration = Duration::from_millis(100);

/// Between attempts after the start, first and at most (it doubles). The agent is on this machine,
/// so asking costs little; each loss is a line in the log.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A stream that lasted for so long was a good one: its end says nothing about the next.
const STABLE: Duration = Duration::from_secs(60);

/// Between lines about dropped envelopes; the first one is written at once.
const REPORT_PAUSE: Duration = Duration::from_secs(60);

/// How long the end of the program waits for the agent to take what is left. It is on this machine.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Tags of every envelope, after the component that it is from.
const ORIGIN: &str = "origin";
const SOURCE_TYPE: &str = "source_type";
const SOURCE_ID: &str = "source_id";
const INSTANCE_ID: &str = "instance_id";

/// Where envelopes go. Clones share one queue, and when the last of them is gone, what is left in it
/// is sent and no more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Emitter(Option<Arc<Outlet>>);

#[derive(Debug)]
struct Outlet {
    queue: Arc<Queue>,
    origin: String,
    source_id: String,
    instance_id: String,
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Emitter {
    /// How many envelopes were dropped so far, because the agent did not take them in time.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |outlet| outlet.queue.dropped())
    }

    /// Puts a line into the log of the app that `tags` tell of.
    ///
    /// They are the tags of the envelope, too, over those that we would give it.
    pub(crate) fn app_log(&self, source_type: &str, line: &str, tags: &Tags) {
        let Some(outlet) = &self.0 else { return };
        let mut all = outlet.tags();
        all.insert(SOURCE_TYPE.to_owned(), source_type.to_owned());
        all.extend(tags.clone());
        let id = |name| tags.get(name).cloned().unwrap_or_default();
        let payload = line.as_bytes().to_vec();
        let content = Content::Log(Log { payload });
        let envelope = Envelope::now(id(SOURCE_ID), id(INSTANCE_ID), all, content);
        outlet.queue.push(envelope);
    }

    /// Tells a value of this component as it is now.
    pub(crate) fn gauge(&self, name: &str, unit: &str, value: f64) {
        let Some(outlet) = &self.0 else { return };
        let unit = unit.to_owned();
        let metrics = [(name.to_owned(), GaugeValue { unit, value })].into();
        outlet.push_own(Content::Gauge(Gauge { metrics }), None);
    }

    /// Tells that `name` happened so many times more, to something that `tag` names.
    pub(crate) fn counter(&self, name: &str, delta: u64, tag: (&str, &str)) {
        let Some(outlet) = &self.0 else { return };
        let name = name.to_owned();
        outlet.push_own(Content::Counter(Counter { name, delta }), Some(tag));
    }
}

impl Outlet {
    fn tags(&self) -> Tags {
        [(ORIGIN.to_owned(), self.origin.clone())].into()
    }

    /// An envelope about this component.
    fn push_own(&self, content: Content, tag: Option<(&str, &str)>) {
        let mut tags = self.tags();
        tags.extend(tag.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let (source, instance) = (self.source_id.clone(), self.instance_id.clone());
        self.queue
            .push(Envelope::now(source, instance, tags, content));
    }
}

/// The task that sends.
#[derive(Debug, Default)]
pub(crate) struct Loggregator {
    worker: Option<JoinHandle<()>>,
    queue: Arc<Queue>,
}

impl Loggregator {
    /// Connects to the agent, if there is to be one, and starts to send.
    ///
    /// # Errors
    ///
    /// If the agent does not accept us in time, in the words of the reference and then in ours.
    pub(crate) async fn start(
        settings: Option<LoggregatorSettings>,
    ) -> Result<(Emitter, Self), String> {
        let Some(settings) = settings else {
            return Ok((Emitter::default(), Self::default()));
        };
        let agent = first_dial(&settings)
            .await
            .map_err(|cause| format!("context deadline exceeded: {cause}"))?;
        let queue = Arc::<Queue>::default();
        let outlet = Outlet {
            queue: Arc::clone(&queue),
            origin: settings.origin.clone(),
            source_id: settings.source_id.clone(),
            instance_id: settings.instance_id.clone(),
        };
        let worker = tokio::spawn(work(agent, Arc::clone(&queue), settings));
        let worker = Some(worker);
        Ok((Emitter(Some(Arc::new(outlet))), Self { worker, queue }))
    }

    /// Waits until all envelopes are with the agent, if it takes them in good time. There must not be
    /// an [`Emitter`] any more.
    pub(crate) async fn finish(self) {
        let Some(mut worker) = self.worker else {
            return;
        };
        if timeout(FLUSH_TIMEOUT, &mut worker).await.is_err() {
            worker.abort();
            warn!("loggregator-not-flushed");
        }
        let dropped = self.queue.dropped();
        if dropped > 0 {
            warn!(dropped, "loggregator-envelopes-dropped");
        }
    }
}

/// Dials within the time that one dial may take, more than once where the answer comes early.
async fn first_dial(settings: &LoggregatorSettings) -> Result<Agent, String> {
    let mut cause = SILENT.to_owned();
    let dial = async {
        loop {
            match Agent::dial(settings).await {
                Ok(agent) => return agent,
                Err(error) => cause = error,
            }
            sleep(START_PAUSE).await;
        }
    };
    let dialled = timeout(DIAL_TIMEOUT, dial).await;
    dialled.map_err(|_| cause)
}

/// Sends what is queued until the queue is closed and empty.
async fn work(agent: Agent, queue: Arc<Queue>, settings: LoggregatorSettings) {
    tokio::select! {
        () = send(agent, &queue, &settings) => {}
        () = report_drops(&queue) => {}
    }
}

async fn send(mut agent: Agent, queue: &Queue, settings: &LoggregatorSettings) {
    let mut pause = FIRST_PAUSE;
    loop {
        let start = Instant::now();
        let Err(error) = agent.stream(queue, settings).await else {
            return;
        };
        warn!(error, "loggregator-agent-lost");
        if start.elapsed() > STABLE {
            pause = FIRST_PAUSE;
        }
        agent = find_again(settings, &mut pause).await;
        info!("loggregator-agent-back");
    }
}

/// Dials until the agent accepts us, with one line about why it does not.
async fn find_again(settings: &LoggregatorSettings, pause: &mut Duration) -> Agent {
    let mut told = false;
    loop {
        sleep(*pause).await;
        *pause = (*pause * 2).min(MAX_PAUSE);
        match Agent::dial(settings).await {
            Ok(agent) => return agent,
            Err(_) if told => {}
            Err(error) => warn!(error, "loggregator-agent-not-back"),
        }
        told = true;
    }
}

/// Tells how many envelopes were dropped, seldom; ends only by being dropped.
async fn report_drops(queue: &Queue) {
    loop {
        queue.dropping().await;
        warn!(dropped = queue.dropped(), "loggregator-envelopes-dropped");
        sleep(REPORT_PAUSE).await;
    }
}
