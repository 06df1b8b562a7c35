//! User names: the realm that decides on a login, and the instance that is asked for.
//!
//! `diego:<process guid>/<index>` and `cf:<process guid>/<index>`. The reference finds these
//! patterns anywhere in a name and lets large indices wrap around; here the whole name must match
//! and the index must be one that an instance can have.

/// Longest name that is looked at, in bytes: a realm, a process guid with its version (73) and an
/// index (10) leave plenty of room.
const MAX_NAME_LENGTH: usize = 256;

/// The groups of hexadecimal digits of a UUID.
const UUID_GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// A user name that asks for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserName {
    /// Logs in with the operator's credentials.
    Diego {
        /// Process guid of the LRP, of `[A-Za-z0-9_-]`.
        guid: String,
        /// Index of the instance, not negative.
        index: i32,
    },
    /// Logs in with a one-time code from UAA and the consent of Cloud Controller.
    Cf {
        /// Guid of the process in Cloud Controller, a UUID as it was typed.
        guid: String,
        /// Index of the instance, not negative.
        index: i32,
    },
}

impl UserName {
    /// Reads `name`; `None` if it is of no realm.
    pub fn parse(name: &str) -> Option<Self> {
        if name.len() > MAX_NAME_LENGTH {
            return None;
        }
        let (realm, instance) = name.split_once(':')?;
        let (guid, index) = instance.split_once('/')?;
        let index = parse_index(index)?;
        let guid_is = |valid: fn(&str) -> bool| valid(guid).then(|| guid.to_owned());
        match realm {
            "diego" => guid_is(is_process_guid).map(|guid| Self::Diego { guid, index }),
            "cf" => guid_is(is_uuid).map(|guid| Self::Cf { guid, index }),
            _ => None,
        }
    }
}

/// The realm that decides about `name`, or `none`.
pub(crate) fn realm(name: &str) -> &'static str {
    match UserName::parse(name) {
        Some(UserName::Diego { .. }) => "diego",
        Some(UserName::Cf { .. }) => "cf",
        None => "none",
    }
}

/// Decimal digits, leading zeros allowed as in the reference, up to `i32::MAX`.
fn parse_index(text: &str) -> Option<i32> {
    // `parse` would take a sign.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn is_process_guid(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.bytes().all(allowed)
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.len() == UUID_GROUPS.len()
        && groups.iter().zip(UUID_GROUPS).all(|(group, length)| {
            group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "16b8a1a0-0b2F-4f3c-9f57-0123456789aB";

    #[test]
    fn names_of_both_realms_are_read() {
        let diego = |guid: &str, index| UserName::Diego {
            guid: guid.to_owned(),
            index,
        };
        let cases = [
            (
                "diego:app-guid-app-version/99".to_owned(),
                diego("app-guid-app-version", 99),
            ),
            ("diego:a_B-9/0".to_owned(), diego("a_B-9", 0)),
            ("diego:x/007".to_owned(), diego("x", 7)),
            ("diego:x/2147483647".to_owned(), diego("x", i32::MAX)),
            (
                format!("cf:{UUID}/3"),
                UserName::Cf {
                    guid: UUID.to_owned(),
                    index: 3,
                },
            ),
        ];
        for (name, user) in cases {
            assert_eq!(UserName::parse(&name), Some(user), "{name}");
        }
    }

    #[test]
    fn other_names_are_of_no_realm() {
        let cases = [
            "",
            "user",
            "app-guid/99",
            "goo:app-guid/99",
            "Diego:app-guid/99",
            "xdiego:app-guid/99",
            " diego:app-guid/99",
            "diego:app-guid/99 ",
            "diego:app-guid/99\n",
            "diego:app-guid/9x",
            "diego:app-guid/+9",
            "diego:app-guid/-1",
            "diego:app-guid/",
            "diego:app-guid",
            "diego:/9",
            "diego:app/guid/9",
            "diego:app guid/9",
            "diego:äpp/9",
            "diego:x/2147483648",
            "diego:x/4294967296",
            "diego:x/٣",
            "cf:app-guid/0",
            "cf:16b8a1a0-0b2f-4f3c-9f57-0123456789a/0",
            "cf:16b8a1a0-0b2f-4f3c-9f57-0123456789abc/0",
            "cf:16b8a1a00b2f4f3c9f570123456789ab/0",
            "cf:16b8a1a0-0b2f-4f3c-9f57-0123456789ag/0",
            "cf:16b8a1a0-0b2f-4f3c-9f57-0123456789ab-ab/0",
        ];
        for name in cases {
            assert_eq!(UserName::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let fits = format!("diego:{}/0", "x".repeat(MAX_NAME_LENGTH - "diego:/0".len()));
        assert!(UserName::parse(&fits).is_some());
        let too_long = format!(
            "diego:x{}/0",
            "x".repeat(MAX_NAME_LENGTH - "diego:/0".len())
        );
        assert_eq!(UserName::parse(&too_long), None);
    }
}
