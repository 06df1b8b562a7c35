//! Types of values in the file, and how Go reads them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use goflag::duration;
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use serde_json::Value;
use ssh_proto::Secret;

use super::reference::Key;

/// A JSON object by lower-case keys.
#[derive(Debug, Default)]
pub(super) struct Object(BTreeMap<String, Value>);

impl Object {
    fn insert(&mut self, key: &str, value: Value) {
        // A null leaves what an earlier key has set, as in Go.
        if !value.is_null() {
            self.0.insert(key.to_ascii_lowercase(), value);
        }
    }

    /// An object inside another one.
    pub(super) fn inner(value: Value) -> Result<Self, String> {
        let Value::Object(map) = value else {
            return Err(expected("an object", &value));
        };
        let mut object = Self::default();
        for (key, value) in map {
            object.insert(&key, value);
        }
        Ok(object)
    }

    /// The value under `key`, or what stands for an absent one.
    pub(super) fn take<T: FromJson>(
        &mut self,
        key: &str,
        inside: &str,
        problems: &mut Vec<String>,
    ) -> T {
        match self.0.remove(key) {
            None => T::absent(),
            Some(value) => T::from_json(value, key, problems).unwrap_or_else(|problem| {
                problems.push(format!("{inside}{key}: {problem}"));
                T::absent()
            }),
        }
    }

    /// The keys that nobody took.
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object::default();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    object.insert(&key, value);
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Types of values in the file.
pub(super) trait FromJson: Sized {
    /// What operators read of the type.
    const TYPE: &'static str;

    /// What operators read of [`FromJson::absent`].
    const ABSENT: &'static str;

    /// What stands for an absent key.
    fn absent() -> Self;

    /// Reads `value`; an error tells what was expected, without the value. Objects report the
    /// problems of what they contain themselves.
    fn from_json(value: Value, key: &str, problems: &mut Vec<String>) -> Result<Self, String>;

    /// Adds the keys of an object, whose names begin with `inside`.
    fn list_inside(_inside: &str, _keys: &mut Vec<Key>) {}
}

fn expected(what: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("expected {what}, found {found}")
}

impl FromJson for String {
    const TYPE: &'static str = "text";
    const ABSENT: &'static str = "empty";

    fn absent() -> Self {
        Self::new()
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(expected("a string", &other)),
        }
    }
}

impl FromJson for Secret<String> {
    const TYPE: &'static str = "secret text";
    const ABSENT: &'static str = "empty";

    fn absent() -> Self {
        Self::new(String::new())
    }

    fn from_json(value: Value, key: &str, problems: &mut Vec<String>) -> Result<Self, String> {
        String::from_json(value, key, problems).map(Self::new)
    }
}

impl FromJson for bool {
    const TYPE: &'static str = "true or false";
    const ABSENT: &'static str = "`false`";

    fn absent() -> Self {
        false
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| expected("true or false", &value))
    }
}

impl FromJson for Option<bool> {
    const TYPE: &'static str = "true or false";
    const ABSENT: &'static str = "none";

    fn absent() -> Self {
        None
    }

    fn from_json(value: Value, key: &str, problems: &mut Vec<String>) -> Result<Self, String> {
        bool::from_json(value, key, problems).map(Some)
    }
}

impl FromJson for i64 {
    const TYPE: &'static str = "whole number";
    const ABSENT: &'static str = "`0`";

    fn absent() -> Self {
        0
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        value.as_i64().ok_or_else(|| match value {
            Value::Number(_) => "expected a whole number within 64 bits".to_owned(),
            other => expected("a whole number", &other),
        })
    }
}

impl FromJson for Vec<String> {
    const TYPE: &'static str = "list of texts";
    const ABSENT: &'static str = "`[]`";

    fn absent() -> Self {
        Self::new()
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let Value::Array(values) = value else {
            return Err(expected("a list of strings", &value));
        };
        values
            .into_iter()
            .map(|value| match value {
                Value::String(text) => Ok(text),
                other => Err(expected("a list of strings", &other) + " in it"),
            })
            .collect()
    }
}

impl FromJson for Option<Duration> {
    const TYPE: &'static str = "duration";
    const ABSENT: &'static str = "none";

    fn absent() -> Self {
        None
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        match value {
            Value::String(text) => duration::parse(&text).map(Some),
            other => Err(expected("a duration such as \"10s\"", &other)),
        }
    }
}

/// Form of log lines as the file names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeFormat(pub(crate) lager::TimeFormat);

impl FromJson for TimeFormat {
    const TYPE: &'static str = "`\"unix-epoch\"` or `\"rfc3339\"`";
    const ABSENT: &'static str = "`\"unix-epoch\"`";

    fn absent() -> Self {
        Self(lager::TimeFormat::UnixEpoch)
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let number = value.as_i64();
        match (value.as_str(), number) {
            (Some("unix-epoch" | "0" | ""), _) | (_, Some(0)) => Ok(Self::absent()),
            (Some("rfc3339" | "1"), _) | (_, Some(1)) => Ok(Self(lager::TimeFormat::Rfc3339)),
            _ => Err("expected \"unix-epoch\" or \"rfc3339\"".to_owned()),
        }
    }
}
