//! Messages by their fields, and their names.

use ssh_proto::msg;
use ssh_proto::wire::Put;

/// A message of one string.
pub fn string_message(number: u8, text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut payload = vec![number];
    payload.put_string(text.as_ref());
    payload
}

/// KEX_ECDH_INIT with this public value.
pub fn kex_init(public: &[u8]) -> Vec<u8> {
    string_message(msg::KEX_ECDH_INIT, public)
}

/// DISCONNECT
pub fn disconnect(reason: u32, text: &str) -> Vec<u8> {
    let mut payload = vec![msg::DISCONNECT];
    payload.put_u32(reason);
    payload.put_string(text.as_bytes());
    payload.put_string(b"");
    payload
}

/// IGNORE
pub fn ignore(data: &[u8]) -> Vec<u8> {
    string_message(msg::IGNORE, data)
}

/// UNIMPLEMENTED
pub fn unimplemented(sequence: u32) -> Vec<u8> {
    plain(msg::UNIMPLEMENTED, sequence)
}

/// DEBUG
pub fn debug(text: &str) -> Vec<u8> {
    let mut payload = vec![msg::DEBUG, 0];
    payload.put_string(text.as_bytes());
    payload.put_string(b"");
    payload
}

/// EXT_INFO with these extensions, and with this number of them.
pub fn ext_info(count: u32, extensions: &[(&str, &str)]) -> Vec<u8> {
    let mut payload = vec![msg::EXT_INFO];
    payload.put_u32(count);
    for (name, value) in extensions {
        payload.put_string(name.as_bytes());
        payload.put_string(value.as_bytes());
    }
    payload
}

/// SERVICE_REQUEST
pub fn service_request(name: impl AsRef<[u8]>) -> Vec<u8> {
    string_message(msg::SERVICE_REQUEST, name)
}

/// USERAUTH_REQUEST up to the name of the method.
pub fn userauth_request(
    user: impl AsRef<[u8]>,
    service: impl AsRef<[u8]>,
    method: impl AsRef<[u8]>,
) -> Vec<u8> {
    let mut payload = string_message(msg::USERAUTH_REQUEST, user);
    payload.put_string(service.as_ref());
    payload.put_string(method.as_ref());
    payload
}

/// USERAUTH_REQUEST with a password (RFC 4252 section 8).
pub fn password_request(user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> Vec<u8> {
    let mut payload = userauth_request(user, "ssh-connection", "password");
    payload.put_bool(false);
    payload.put_string(password.as_ref());
    payload
}

/// USERAUTH_REQUEST with a public key, up to where a signature goes (RFC 4252 section 7).
pub fn publickey_request(
    user: impl AsRef<[u8]>,
    signed: bool,
    algorithm: impl AsRef<[u8]>,
    blob: &[u8],
) -> Vec<u8> {
    let mut payload = userauth_request(user, "ssh-connection", "publickey");
    payload.put_bool(signed);
    payload.put_string(algorithm.as_ref());
    payload.put_string(blob);
    payload
}

/// USERAUTH_FAILURE with the methods that can continue, without partial success.
pub fn userauth_failure(methods: &str) -> Vec<u8> {
    let mut payload = string_message(msg::USERAUTH_FAILURE, methods);
    payload.put_bool(false);
    payload
}

/// GLOBAL_REQUEST without anything that belongs to a name.
pub fn global_request(name: impl AsRef<[u8]>, want_reply: bool) -> Vec<u8> {
    let mut payload = string_message(msg::GLOBAL_REQUEST, name);
    payload.put_bool(want_reply);
    payload
}

/// CHANNEL_OPEN without anything that belongs to a type.
pub fn open(kind: impl AsRef<[u8]>, number: u32, window: u32, max_packet: u32) -> Vec<u8> {
    let mut payload = string_message(msg::CHANNEL_OPEN, kind);
    payload.put_u32(number);
    payload.put_u32(window);
    payload.put_u32(max_packet);
    payload
}

/// A message about a channel without further fields.
pub fn plain(number: u8, channel: u32) -> Vec<u8> {
    let mut payload = vec![number];
    payload.put_u32(channel);
    payload
}

/// CHANNEL_WINDOW_ADJUST
pub fn window_adjust(channel: u32, bytes: u32) -> Vec<u8> {
    let mut payload = plain(msg::CHANNEL_WINDOW_ADJUST, channel);
    payload.put_u32(bytes);
    payload
}

/// CHANNEL_DATA
pub fn data(channel: u32, bytes: &[u8]) -> Vec<u8> {
    let mut payload = plain(msg::CHANNEL_DATA, channel);
    payload.put_string(bytes);
    payload
}

/// CHANNEL_EXTENDED_DATA with this data type code.
pub fn extended_data(channel: u32, code: u32, bytes: &[u8]) -> Vec<u8> {
    let mut payload = plain(msg::CHANNEL_EXTENDED_DATA, channel);
    payload.put_u32(code);
    payload.put_string(bytes);
    payload
}

/// CHANNEL_REQUEST with fields that are strings.
pub fn request(
    channel: u32,
    name: impl AsRef<[u8]>,
    want_reply: bool,
    fields: &[&[u8]],
) -> Vec<u8> {
    let mut payload = plain(msg::CHANNEL_REQUEST, channel);
    payload.put_string(name.as_ref());
    payload.put_bool(want_reply);
    for field in fields {
        payload.put_string(field);
    }
    payload
}

/// The request to run `command`.
pub fn exec(channel: u32, command: &str) -> Vec<u8> {
    request(channel, "exec", true, &[command.as_bytes()])
}

/// The number that stands at `offset`, 0 if there is none.
pub fn u32_at(payload: &[u8], offset: usize) -> u32 {
    let bytes = payload.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// What RFC 4250 section 4.1 calls a message, without its prefix.
pub fn name(number: u8) -> String {
    let known = match number {
        msg::DISCONNECT => "DISCONNECT",
        msg::IGNORE => "IGNORE",
        msg::UNIMPLEMENTED => "UNIMPLEMENTED",
        msg::DEBUG => "DEBUG",
        msg::SERVICE_REQUEST => "SERVICE_REQUEST",
        msg::SERVICE_ACCEPT => "SERVICE_ACCEPT",
        msg::EXT_INFO => "EXT_INFO",
        msg::KEXINIT => "KEXINIT",
        msg::NEWKEYS => "NEWKEYS",
        msg::KEX_ECDH_INIT => "KEX_ECDH_INIT",
        msg::KEX_ECDH_REPLY => "KEX_ECDH_REPLY",
        msg::USERAUTH_REQUEST => "USERAUTH_REQUEST",
        msg::USERAUTH_FAILURE => "USERAUTH_FAILURE",
        msg::USERAUTH_SUCCESS => "USERAUTH_SUCCESS",
        msg::USERAUTH_BANNER => "USERAUTH_BANNER",
        msg::USERAUTH_PK_OK => "USERAUTH_PK_OK",
        msg::GLOBAL_REQUEST => "GLOBAL_REQUEST",
        msg::REQUEST_SUCCESS => "REQUEST_SUCCESS",
        msg::REQUEST_FAILURE => "REQUEST_FAILURE",
        msg::CHANNEL_OPEN => "CHANNEL_OPEN",
        msg::CHANNEL_OPEN_CONFIRMATION => "CHANNEL_OPEN_CONFIRMATION",
        msg::CHANNEL_OPEN_FAILURE => "CHANNEL_OPEN_FAILURE",
        msg::CHANNEL_WINDOW_ADJUST => "CHANNEL_WINDOW_ADJUST",
        msg::CHANNEL_DATA => "CHANNEL_DATA",
        msg::CHANNEL_EXTENDED_DATA => "CHANNEL_EXTENDED_DATA",
        msg::CHANNEL_EOF => "CHANNEL_EOF",
        msg::CHANNEL_CLOSE => "CHANNEL_CLOSE",
        msg::CHANNEL_REQUEST => "CHANNEL_REQUEST",
        msg::CHANNEL_SUCCESS => "CHANNEL_SUCCESS",
        msg::CHANNEL_FAILURE => "CHANNEL_FAILURE",
        msg::PING => "PING",
        msg::PONG => "PONG",
        _ => return format!("message {number}"),
    };
    known.to_owned()
}
