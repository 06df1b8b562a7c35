//! Values that must not be seen: wiped when dropped, absent from `Debug`, compared in constant time.

use std::fmt;

use zeroize::Zeroize;

use crate::crypto;

/// A value that is zeroised when dropped and never printed.
///
/// There is no `Deref`, no `Display` and no serialisation on purpose: every use is a visible call of
/// [`Secret::expose`]. Nor is there a comparison but [`Secret::matches`]:
///
/// ```compile_fail,E0369
/// # use ssh_proto::Secret;
/// let (one, other) = (Secret::new("a".to_owned()), Secret::new("b".to_owned()));
/// assert!(one != other);
/// ```
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes `value` into custody.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + AsRef<[u8]>> Secret<T> {
    /// Compares with `candidate` in a time that tells nothing about the content.
    ///
    /// Both sides are hashed first, so that the time does not tell the length either.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        crypto::same_secret(self.0.as_ref(), candidate)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(
            format!("{:?}", Secret::new(String::from("hunter2"))),
            "Secret(..)"
        );
    }

    #[test]
    fn matches_only_the_same_bytes() {
        let secret = Secret::new(String::from("hunter2"));
        assert!(secret.matches(b"hunter2"));
        assert!(!secret.matches(b"hunter3"));
        assert!(!secret.matches(b"hunter22"));
        assert!(!secret.matches(b""));
    }
}
