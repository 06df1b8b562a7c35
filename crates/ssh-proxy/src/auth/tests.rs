//! How the gate treats those who have proven nothing.
