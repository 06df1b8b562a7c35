//! Until when a certificate is valid: the few fields of X.509 (RFC 5280 section 4.1) that lie in
//! front of the answer.

use rustls::pki_types::CertificateDer;
use time::{Date, Month, OffsetDateTime};

/// Tags of DER that are met on the way.
const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Refuses a certificate that is expired or not yet valid.
///
/// One whose fields cannot be read passes here; TLS will refuse it with its own words.
pub(crate) fn check_now(certificate: &CertificateDer<'_>) -> Result<(), &'static str> {
    let Some((from, to)) = validity(certificate) else {
        return Ok(());
    };
    let now = digits(OffsetDateTime::now_utc());
    if now < from {
        return Err("certificate is not yet valid");
    }
    if now > to {
        return Err("certificate has expired");
    }
    Ok(())
}

/// Days until a certificate expires and the date, as `2026-11-23`; negative once it has. `None` if its
/// fields cannot be read.
pub(crate) fn expiry(certificate: &CertificateDer<'_>) -> Option<(i64, String)> {
    let (_, to) = validity(certificate)?;
    let (year, month, day) = (to.get(..4)?, to.get(4..6)?, to.get(6..8)?);
    let month_number = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let date =
        Date::from_calendar_date(year.parse().ok()?, month_number, day.parse().ok()?).ok()?;
    let days = (date - OffsetDateTime::now_utc().date()).whole_days();
    Some((days, format!("{year}-{month}-{day}")))
}

/// Both ends as `YYYYMMDDhhmmss`, which sorts by time.
fn validity(certificate: &[u8]) -> Option<(String, String)> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if let Some((EXPLICIT_VERSION, _, after)) = element(rest) {
        rest = after;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (SEQUENCE, dates, _) = element(rest)? else {
        return None;
    };
    let (tag, from, dates) = element(dates)?;
    let from = moment(tag, from)?;
    let (tag, to, _) = element(dates)?;
    Some((from, moment(tag, to)?))
}

/// Tag, content and what follows of the element that `bytes` starts with.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (big_endian(length)?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A length of at most four bytes.
fn big_endian(bytes: &[u8]) -> Option<usize> {
    (1..=4).contains(&bytes.len()).then(|| {
        bytes
            .iter()
            .fold(0, |length, byte| (length << 8) | usize::from(*byte))
    })
}

/// A time of RFC 5280 section 4.1.2.5 with four digits of year.
fn moment(tag: u8, text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    match (tag, text.len()) {
        // Two digits of year mean 1950 to 2049.
        (UTC_TIME, 12) if *text >= *"5" => Some(format!("19{text}")),
        (UTC_TIME, 12) => Some(format!("20{text}")),
        (GENERALIZED_TIME, 14) => Some(text.to_owned()),
        _ => None,
    }
}

fn digits(at: OffsetDateTime) -> String {
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_time_are_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1999, 2, 3);
        params.not_after = rcgen::date_time_ymd(2077, 12, 31);
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(
            validity(certificate.der()),
            Some(("19990203000000".into(), "20771231000000".into()))
        );
    }

    #[test]
    fn damaged_certificates_have_no_answer() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        for end in 0..certificate.der().len() {
            // Not a panic is what counts.
            let _ = validity(&certificate.der()[..end]);
        }
        assert_eq!(validity(&[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1]), None);
        assert_eq!(validity(&[]), None);
    }
}
