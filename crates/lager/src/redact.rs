//! What must not reach a line in full: values that look like secrets, and values that are too long.

use std::borrow::Cow;

use regex_lite::Regex;

use crate::json::Value;

/// What stands in place of a value that was redacted.
const REDACTED: &str = "*REDACTED*";

/// What ends a value that was cut.
const TRUNCATED: &str = "-(truncated)";

/// Most bytes of a text where nothing else is set: room for all problems of a configuration, and no room for
/// what a server of the platform says in a MiB.
pub const LONGEST_TEXT: usize = 4096;

/// Keys whose values are never shown, whatever they are.
const SECRET_KEYS: &[&str] = &["pwd", "Pwd", "pass", "Pass"];

/// Values that are redacted unless patterns are given: AWS access keys, hashes of `crypt(3)`
/// (`$1$`, `$5$`, `$6$`), and private keys in PEM form.
const SECRET_VALUES: &[&str] = &[
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r#"(?i)key["']?\s*(?:=>|=|:)\s*["']?[A-Z0-9/+=]{40}(?:["']|\s|$)"#,
    r"\$(?:1|5|6)\$[A-Za-z0-9./=,$-]{1,64}\$(?:[A-Za-z0-9./]{22}|[A-Za-z0-9./]{43}|[A-Za-z0-9./]{86})",
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----",
];

/// Which values are replaced by `*REDACTED*`.
///
/// Values under a key that contains `pwd`, `Pwd`, `pass` or `Pass` always are; texts if they match
/// one of the patterns.
#[derive(Debug, Clone)]
pub struct Redaction {
    values: Vec<Regex>,
}

impl Redaction {
    /// Redacts texts that match one of `patterns`, or those that look like well-known secrets if there
    /// are none.
    ///
    /// Patterns are regular expressions in RE2's syntax, with its classes of ASCII (`\d`, `\w`, `\b`).
    /// Unlike the reference's they know no classes of Unicode (`\p{Greek}`) and ignore the case of ASCII
    /// alone: the tables for that would be a tenth of the daemon.
    pub fn new<P: AsRef<str>>(patterns: &[P]) -> Result<Self, BadPattern> {
        let values = if patterns.is_empty() {
            SECRET_VALUES.iter().copied().map(Regex::new).collect()
        } else {
            patterns.iter().map(AsRef::as_ref).map(Regex::new).collect()
        };
        let values: Result<_, regex_lite::Error> = values;
        Ok(Self {
            values: values.map_err(|error| BadPattern(error.to_string()))?,
        })
    }

    /// True if `value` under `key` must not be shown.
    fn hides(&self, key: &str, value: &Value) -> bool {
        SECRET_KEYS.iter().any(|secret| key.contains(secret))
            || matches!(value, Value::Text(text) if self.values.iter().any(|value| value.is_match(text)))
    }
}

/// A pattern that is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern(String);

impl std::fmt::Display for BadPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "bad redact pattern: {}", self.0)
    }
}

impl std::error::Error for BadPattern {}

/// `value` as it may be shown.
///
/// The reference truncates first and so can show the first half of a secret; here the whole value
/// is looked at before it is cut.
pub(crate) fn clean<'a>(
    redaction: Option<&Redaction>,
    max_length: Option<usize>,
    key: &str,
    value: &'a Value,
) -> Cow<'a, Value> {
    if redaction.is_some_and(|redaction| redaction.hides(key, value)) {
        return Cow::Owned(Value::Text(REDACTED.to_owned()));
    }
    let max = max_length.unwrap_or(LONGEST_TEXT);
    match value {
        Value::Text(text) if text.len() > max.max(TRUNCATED.len()) => {
            Cow::Owned(Value::Text(truncate(text, max)))
        }
        _ => Cow::Borrowed(value),
    }
}

/// The beginning of `text` and the mark, together at most `max` bytes (but never less than the
/// mark). A character is not cut in two.
fn truncate(text: &str, max: usize) -> String {
    let mut end = max.saturating_sub(TRUNCATED.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let (kept, _) = text.split_at_checked(end).unwrap_or((text, ""));
    format!("{kept}{TRUNCATED}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn well_known_secrets_are_hidden() {
        let redaction = Redaction::new::<&str>(&[]).unwrap();
        let hidden = [
            "AKIAIOSFODNN7EXAMPLE",
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
            "$5$rounds=5000$saltsalt$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "x -----BEGIN RSA PRIVATE KEY-----\nMIIE",
            "-----BEGIN PRIVATE KEY-----",
        ];
        for secret in hidden {
            assert_eq!(
                *clean(Some(&redaction), None, "key", &text(secret)),
                text(REDACTED),
                "{secret}"
            );
        }
        for harmless in ["-----BEGIN PUBLIC KEY-----", "$1$", "10.0.0.1:2222", ""] {
            assert_eq!(
                *clean(Some(&redaction), None, "key", &text(harmless)),
                text(harmless)
            );
        }
    }

    #[test]
    fn keys_that_name_passwords_hide_any_value() {
        let redaction = Redaction::new(&["nothing"]).unwrap();
        for key in ["password", "uaaPass", "dbPwd", "pwd"] {
            let number = Value::Literal("12".into());
            assert_eq!(*clean(Some(&redaction), None, key, &number), text(REDACTED));
        }
        assert_eq!(
            *clean(Some(&redaction), None, "PASS", &text("x")),
            text("x")
        );
    }

    #[test]
    fn given_patterns_replace_the_defaults() {
        let redaction = Redaction::new(&["^token-"]).unwrap();
        assert_eq!(
            *clean(Some(&redaction), None, "a", &text("token-1")),
            text(REDACTED)
        );
        let pem = text("-----BEGIN PRIVATE KEY-----");
        assert_eq!(*clean(Some(&redaction), None, "a", &pem), pem);
        assert!(Redaction::new(&["("]).is_err());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let cases = [
            (Some(20), "12345678901234567890", "12345678901234567890"),
            (Some(20), "123456789012345678901", "12345678-(truncated)"),
            (Some(20), "1234567é90123456789012", "1234567-(truncated)"),
            (Some(3), "123456789012", "123456789012"),
            (Some(3), "1234567890123", "-(truncated)"),
            (None, "1234567890123", "1234567890123"),
        ];
        for (max, given, shown) in cases {
            assert_eq!(*clean(None, max, "k", &text(given)), text(shown));
        }
        let endless = text(&"x".repeat(1_000_000));
        let shown = clean(None, None, "k", &endless).into_owned();
        assert!(matches!(shown, Value::Text(text) if text.len() == LONGEST_TEXT));
    }

    #[test]
    fn a_secret_behind_the_cut_hides_the_whole_value() {
        let redaction = Redaction::new(&["secret"]).unwrap();
        let value = text("0123456789012345678901234567890 secret");
        assert_eq!(
            *clean(Some(&redaction), Some(20), "k", &value),
            text(REDACTED)
        );
    }
}
