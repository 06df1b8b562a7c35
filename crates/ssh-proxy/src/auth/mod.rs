//! Who may log in, and as whom.

pub(crate) mod user;
