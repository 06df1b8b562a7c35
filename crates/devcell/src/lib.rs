//! devcell
