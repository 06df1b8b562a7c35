//! Owns `application/x-www-form-urlencoded`, in which UAA takes its parameters and, unless told
//! otherwise, the credentials of clients.

use std::collections::BTreeMap;

/// The fields of a form; the last of each name counts. `None` if it is not encoded as it should be.
pub(super) fn fields(text: &str) -> Option<BTreeMap<String, String>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

/// Undoes the encoding of one part: `+` is a space, `%` begins two hex digits.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Encodes one part.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_decoded_and_encoded() {
        assert_eq!(decode("a+b%2Bc%25").as_deref(), Some("a b+c%"));
        assert_eq!(encode("a b+c%ä"), "a%20b%2Bc%25%C3%A4");
        for broken in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn forms_have_fields() {
        let form = fields("code=a%2Fb&grant_type=authorization_code&empty=&bare").unwrap();
        assert_eq!(form["code"], "a/b");
        assert_eq!(form["grant_type"], "authorization_code");
        assert_eq!((form["empty"].as_str(), form["bare"].as_str()), ("", ""));
        assert_eq!(fields(""), Some(BTreeMap::new()));
        assert_eq!(fields("a=%"), None);
    }
}
