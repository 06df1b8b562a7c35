//! The machines of `ssh-proto` on tokio streams.
//!
//! | module      | owns                                                                       |
//! |-------------|----------------------------------------------------------------------------|
//! | [`wire`]    | one transport on one stream: reading, writing, closing so that texts arrive |
//! | [`mod@accept`]  | the server's side up to an authenticated user                              |
//! | [`mod@connect`] | the client's side up to an authenticated user                              |
//! | [`session`] | a connection whose channels are joined to pipes and sockets                |
//! | [`serve`]   | the accept loop                                                            |
//! | [`signals`] | signals that would end a server and ask nothing of it                      |
//! | [`timer`]   | a timer for a deadline that moves                                          |

#![forbid(unsafe_code)]

pub mod accept;
pub mod connect;
pub mod serve;
pub mod session;
pub mod signals;
pub mod timer;
pub mod wire;

pub use accept::{Attempt, Authenticator, Denied, accept, login_deadline};
pub use connect::connect;
pub use wire::{Authenticated, Socket, Wire};
