//! What was found, for people and for programs.

use serde::Serialize;
use serde_json::json;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It works, but not for long or not well.
    Warning,
    /// Logins fail because of it.
    Broken,
    /// Nothing can be said, because something before it is broken.
    NotChecked,
}

impl State {
    /// The word, and the number of its colour (ECMA-48, SGR).
    fn words(self) -> (&'static str, u8) {
        match self {
            Self::Ok => ("ok", 32),
            Self::Warning => ("warning", 33),
            Self::Broken => ("BROKEN", 31),
            Self::NotChecked => ("not checked", 2),
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    /// A name that does not change.
    id: &'static str,
    state: State,
    /// What was seen.
    seen: String,
    /// What to do, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

/// Everything that was looked at, in its order.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Check>);

impl Report {
    /// It is as it should be.
    pub(super) fn ok(&mut self, id: &'static str, seen: impl Into<String>) {
        self.add(id, State::Ok, seen.into(), None);
    }

    /// It works, but something should be done.
    pub(super) fn warning(
        &mut self,
        id: &'static str,
        seen: impl Into<String>,
        remedy: &'static str,
    ) {
        self.add(id, State::Warning, seen.into(), Some(remedy));
    }

    /// Logins fail because of it.
    pub(super) fn broken(
        &mut self,
        id: &'static str,
        seen: impl Into<String>,
        remedy: &'static str,
    ) {
        self.add(id, State::Broken, seen.into(), Some(remedy));
    }

    /// Nothing can be said about it, since `because` is broken.
    pub(super) fn not_checked(&mut self, id: &'static str, because: &str) {
        self.add(id, State::NotChecked, format!("needs {because}"), None);
    }

    /// Something is broken.
    pub(super) fn is_broken(&self) -> bool {
        self.0.iter().any(|check| check.state == State::Broken)
    }

    fn add(&mut self, id: &'static str, state: State, seen: String, remedy: Option<&'static str>) {
        let check = Check {
            id,
            state,
            seen,
            remedy,
        };
        self.0.push(check);
    }

    /// One JSON document.
    pub(super) fn json(&self) -> String {
        let document = json!({"ok": !self.is_broken(), "checks": self.0});
        format!("{document:#}\n")
    }

    /// A line for each check, with the remedy below where there is one.
    pub(super) fn text(&self, colourful: bool) -> String {
        let width = self.0.iter().map(|check| check.id.len()).max().unwrap_or(0);
        let mut text = String::new();
        for check in &self.0 {
            let (word, colour) = check.state.words();
            let word = match colourful {
                true => format!("\x1b[{colour}m{word:11}\x1b[0m"),
                false => format!("{word:11}"),
            };
            let (id, seen) = (check.id, &check.seen);
            text.push_str(&format!("{word}  {id:width$}  {seen}\n"));
            if let Some(remedy) = check.remedy {
                text.push_str(&format!("{:13}{:width$}  -> {remedy}\n", "", ""));
            }
        }
        let count = |state| self.0.iter().filter(|check| check.state == state).count();
        let (broken, warnings) = (count(State::Broken), count(State::Warning));
        text.push_str(&format!("\n{broken} broken, {warnings} to look at\n"));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_to_do_and_programs_see_the_same() {
        let mut report = Report::default();
        report.ok("config", "fine");
        assert!(!report.is_broken());
        report.warning("certificates", "a until b", "Renew it.");
        report.broken("uaa", "down", "Start it.");
        report.not_checked("uaa-client", "uaa");
        assert!(report.is_broken());
        assert_eq!(
            report.text(false),
            "ok           config        fine\n\
             warning      certificates  a until b\n\
             \x20                          -> Renew it.\n\
             BROKEN       uaa           down\n\
             \x20                          -> Start it.\n\
             not checked  uaa-client    needs uaa\n\
             \n1 broken, 1 to look at\n"
        );
        assert!(
            report
                .text(true)
                .starts_with("\x1b[32mok         \x1b[0m  config")
        );
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["checks"][3]["state"], "not_checked");
        assert_eq!(json["checks"][2]["remedy"], "Start it.");
    }
}
