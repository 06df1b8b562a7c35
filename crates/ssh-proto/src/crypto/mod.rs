//! Primitives: the only place that names `aws_lc_rs`, `rsa` and `md5`.
//!
//! | module     | owns                                                        | RFC              |
//! |------------|-------------------------------------------------------------|------------------|
//! | [`cipher`] | protection of packets in one direction, cipher and MAC      | 4253, 4344, 5647 |
//! | [`kex`]    | shared secrets and the keys made of them                    | 4253, 5656, 8731 |
//! | [`digest`] | hashes, also those that only old fingerprints use           |                  |
//! | [`random`] | where random bytes come from                                |                  |
//! | `sign`, `verify` | raw signatures; their SSH encoding is of [`crate::key`] |              |
//!
//! Everything is done by aws-lc, but for two things that it does not offer: signing with RSA keys
//! shorter than 2048 bits (the `rsa` crate, which also reads the PKCS structures) and MD5.

pub mod cipher;
mod ctr;
pub mod digest;
mod gcm;
pub mod kex;
mod mac;
pub mod random;
mod rsa_key;
pub(crate) mod sign;
pub(crate) mod verify;

/// Compares two secrets in a time that tells neither their content nor their length.
pub fn same_secret(ours: &[u8], candidate: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(
        &digest::sha256(ours),
        &digest::sha256(candidate),
    )
    .is_ok()
}
