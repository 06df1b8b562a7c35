//! One log line as JSON bytes: the values, their escaping, and the order of the keys.
//!
//! Written by hand because the escaping must be Go's (`encoding/json` with HTML escaping), which
//! operators' tools have seen for years.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What a field holds once it is on its way into a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Text, not yet escaped.
    Text(String),
    /// A number or a truth value, as JSON writes it.
    Literal(String),
}

impl Value {
    /// A float as a number, or as text where JSON has no number for it.
    pub(crate) fn float(value: f64) -> Self {
        if value.is_finite() {
            Self::Literal(value.to_string())
        } else {
            Self::Text(value.to_string())
        }
    }
}

/// Fields by name; sorted, as Go sorts the keys of maps.
pub(crate) type Data = BTreeMap<&'static str, Value>;

/// Writes `data` as a JSON object, passing each text through `clean` with its key.
pub(crate) fn write_object<'a>(
    line: &mut String,
    data: impl Iterator<Item = (&'a str, &'a Value)>,
    clean: impl Fn(&str, &'a Value) -> std::borrow::Cow<'a, Value>,
) {
    line.push('{');
    for (n, (key, value)) in data.enumerate() {
        if n > 0 {
            line.push(',');
        }
        write_text(line, key);
        line.push(':');
        match clean(key, value).as_ref() {
            Value::Text(text) => write_text(line, text),
            Value::Literal(literal) => line.push_str(literal),
        }
    }
    line.push('}');
}

/// Writes `text` as a JSON string.
///
/// Every control character is escaped, those above ASCII too: what a peer sent must not steer the
/// terminal of whoever reads the log.
pub(crate) fn write_text(line: &mut String, text: &str) {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => escape(line, c),
            // Beyond what Go does: these change how a terminal shows what is around them.
            '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => escape(line, c),
            c if c.is_control() => escape(line, c),
            c => line.push(c),
        }
    }
    line.push('"');
}

/// Writes a character of the basic plane as `\uXXXX`.
fn escape(line: &mut String, c: char) {
    // Writing to a String cannot fail.
    let _ = write!(line, "\\u{:04x}", u32::from(c));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_as_go_does() {
        let cases = [
            ("plain", r#""plain""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\n\r\t", r#""\n\r\t""#),
            ("<b>&", r#""\u003cb\u003e\u0026""#),
            ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
            (
                "\0\u{1b}[2J\u{7f}\u{9b}",
                r#""\u0000\u001b[2J\u007f\u009b""#,
            ),
            ("\u{202e}txt\u{200b}", r#""\u202etxt\u200b""#),
            ("\u{61c}\u{feff}", r#""\u061c\ufeff""#),
            ("grüße 🚢", "\"grüße 🚢\""),
        ];
        for (text, json) in cases {
            let mut line = String::new();
            write_text(&mut line, text);
            assert_eq!(line, json);
            let back: String = serde_json::from_str(&line).unwrap();
            assert_eq!(back, text);
        }
    }

    #[test]
    fn floats_are_numbers_where_json_has_them() {
        assert_eq!(Value::float(1.5), Value::Literal("1.5".into()));
        assert_eq!(Value::float(1.0), Value::Literal("1".into()));
        assert_eq!(Value::float(f64::NAN), Value::Text("NaN".into()));
        assert_eq!(Value::float(f64::INFINITY), Value::Text("inf".into()));
    }
}
