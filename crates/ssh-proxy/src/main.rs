//! The proxy's entry. Everything is in the library, so that tests, benches and fuzz targets reach it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ssh_proxy::start(option_env!("FAIRLEAD_COMMIT"))
}
