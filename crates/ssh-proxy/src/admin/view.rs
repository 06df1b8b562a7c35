//! A session as JSON, for the page, for the commands and for whoever writes scripts.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::relay::observe::ChannelKind;
use crate::sessions::Session;

/// What is shown of a session. Names are those of the audit.
#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    session_id: String,
    user: &'a str,
    user_id: Option<&'a str>,
    user_name: Option<&'a str>,
    source: String,
    app_id: Option<&'a str>,
    app_name: Option<&'a str>,
    space_name: Option<&'a str>,
    organization_name: Option<&'a str>,
    process_guid: &'a str,
    index: i32,
    instance_guid: &'a str,
    /// RFC 3339.
    began: String,
    seconds: u64,
    bytes_up: u64,
    bytes_down: u64,
    /// How many of each type are open; none of a type is left out.
    channels: BTreeMap<&'static str, u32>,
}

impl<'a> View<'a> {
    /// What is to be seen of `session` now.
    pub(super) fn of(session: &'a Session) -> Self {
        let visitor = &session.visitor;
        let who = visitor.who.as_ref();
        let tag = |name: &str| visitor.tags.get(name).map(String::as_str);
        let open = ChannelKind::ALL
            .into_iter()
            .map(|kind| (kind.name(), session.open(kind)));
        Self {
            session_id: session.id.to_string(),
            user: &visitor.user,
            user_id: who.map(|who| who.id.as_str()),
            user_name: who.map(|who| who.name.as_str()),
            source: visitor.address.to_string(),
            app_id: tag("app_id").or_else(|| tag("source_id")),
            app_name: tag("app_name"),
            space_name: tag("space_name"),
            organization_name: tag("organization_name"),
            process_guid: &visitor.instance.process_guid,
            index: visitor.instance.index,
            instance_guid: &visitor.instance.guid,
            began: OffsetDateTime::from(session.began)
                .format(&Rfc3339)
                .unwrap_or_default(),
            seconds: session.age().as_secs(),
            bytes_up: session.bytes_up(),
            bytes_down: session.bytes_down(),
            channels: open.filter(|(_, count)| *count > 0).collect(),
        }
    }
}
