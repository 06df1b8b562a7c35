//! What services of the platform answer, up to where the proxy goes and what it shows.

use ssh_proxy::fuzzing::{self, Answer, Refused};
use ssh_proxy::target::{Endpoint, Target};

use super::user_name;
use crate::input::Input;
use crate::runtime::runtime;

/// Statuses that mean something to somebody.
const STATUSES: [u16; 16] = [
    200, 200, 200, 201, 204, 302, 307, 400, 401, 403, 404, 422, 500, 502, 503, 0,
];

/// What BBS is asked by those who do not care.
const GUID: &str = "guid";

/// The most that a guid or the parts of a user's name may have.
const LONGEST: usize = 256;

/// BBS, UAA and Cloud Controller answer: somebody gets on with values that cannot do harm where they
/// go next, or is refused with one of our codes and a text of one line for the log.
pub fn platform_answers(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => {
            let rows = answer(&mut input);
            let desired = answer(&mut input);
            check_target(bbs(rows, desired, GUID, 0));
        }
        1 => {
            let answer = answer(&mut input);
            let token = answer.and_then(|answer| block_on(fuzzing::token(answer)));
            match token {
                Some(Ok(token)) => {
                    let value = token.authorization;
                    assert!(value.is_sensitive() && value.to_str().is_ok());
                    for claim in [token.id, token.name] {
                        assert!((1..=LONGEST).contains(&claim.len()));
                    }
                }
                Some(Err(refused)) => check_refused(&refused),
                None => {}
            }
        }
        _ => {
            let answer = answer(&mut input);
            let guid = answer.and_then(|answer| block_on(fuzzing::process_guid(answer)));
            match guid {
                Some(Ok(guid)) => assert!((1..=LONGEST).contains(&guid.len())),
                Some(Err(refused)) => check_refused(&refused),
                None => {}
            }
        }
    }
}

/// From a user name to where the proxy would go: what BBS answers for it, in the right form.
pub fn target_names(data: &[u8]) {
    let mut input = Input::new(data);
    let name = String::from_utf8_lossy(input.short()).into_owned();
    let asked = user_name(&name);
    let (guid, index) = asked.unwrap_or((GUID.to_owned(), 0));
    let rows = protobuf(input.bytes().to_vec());
    let desired = protobuf(input.rest().to_vec());
    check_target(bbs(Some(rows), Some(desired), &guid, index));
}

fn protobuf(body: Vec<u8>) -> Answer {
    Answer {
        status: 200,
        headers: vec![("content-type", b"application/x-protobuf".to_vec())],
        body,
    }
}

fn answer(input: &mut Input<'_>) -> Option<Answer> {
    let (status, headers) = head(input)?;
    let body = input.bytes().to_vec();
    Some(Answer {
        status,
        headers,
        body,
    })
}

type Head = (u16, Vec<(&'static str, Vec<u8>)>);

fn head(input: &mut Input<'_>) -> Option<Head> {
    let choice = input.byte();
    let status = match STATUSES[usize::from(choice & 15)] {
        0 => u16::from(input.byte()) * 4,
        status => status,
    };
    let mut headers = Vec::new();
    match choice >> 4 & 3 {
        0 => headers.push(("content-type", b"application/x-protobuf".to_vec())),
        1 => headers.push(("content-type", b"application/json".to_vec())),
        2 => headers.push(("content-type", input.short().to_vec())),
        _ => {}
    }
    if choice & 0x40 != 0 {
        headers.push(("x-cf-routererror", input.short().to_vec()));
    }
    Some((status, headers))
}

fn bbs(
    rows: Option<Answer>,
    desired: Option<Answer>,
    guid: &str,
    index: i32,
) -> Option<Result<Target, Refused>> {
    block_on(fuzzing::target(rows?, desired?, guid, index))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

fn check_target(target: Option<Result<Target, Refused>>) {
    match target {
        Some(Ok(target)) => {
            assert!(target.plain.is_some() || target.tls.is_some());
            target.plain.iter().for_each(check_endpoint);
            target
                .tls
                .iter()
                .for_each(|tls| check_endpoint(&tls.endpoint));
            assert!(target.host_fingerprint.is_none_or(|text| !text.is_empty()));
            // What the log is not to have: a key or a password shows nowhere.
            assert!(
                target
                    .private_key
                    .is_none_or(|key| !key.expose().is_empty())
            );
        }
        Some(Err(refused)) => check_refused(&refused),
        None => {}
    }
}

fn check_endpoint(endpoint: &Endpoint) {
    assert!(!endpoint.host.is_empty() && endpoint.port != 0);
}

fn check_refused(refused: &Refused) {
    let in_code = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    assert!(!refused.code.is_empty() && refused.code.bytes().all(in_code));
    assert!(!refused.error.is_empty() || refused.code == "platform_unavailable");
}
