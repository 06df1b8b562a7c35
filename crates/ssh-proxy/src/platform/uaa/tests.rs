//! Codes against a small UAA that answers, or misbehaves, as it is told.
