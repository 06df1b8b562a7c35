//! Taking apart what a fuzzer gives.

use arbitrary::Unstructured;

/// The next byte; 0 where there is none.
pub(crate) fn byte(input: &mut Unstructured<'_>) -> u8 {
    input.arbitrary().unwrap_or_default()
}

/// Up to 255 bytes behind their count.
pub(crate) fn chunk<'a>(input: &mut Unstructured<'a>) -> &'a [u8] {
    let length = usize::from(byte(input)).min(input.len());
    input.bytes(length).unwrap_or_default()
}
