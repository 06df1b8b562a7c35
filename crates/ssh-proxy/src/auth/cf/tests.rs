//! The realm against a small UAA and a small Cloud Controller.
