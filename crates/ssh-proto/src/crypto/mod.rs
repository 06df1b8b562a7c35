//! Primitives, all of them from aws-lc: the only place that names `aws_lc_rs`.

/// Compares two secrets in a time that tells neither their content nor their length.
pub fn same_secret(ours: &[u8], candidate: &[u8]) -> bool {
    let hash = |bytes| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    aws_lc_rs::constant_time::verify_slices_are_equal(hash(ours).as_ref(), hash(candidate).as_ref())
        .is_ok()
}
