//! ssh-tokio
