#![no_main]
use fairlead_fuzz::daemon;
libfuzzer_sys::fuzz_target!(|data: &[u8]| daemon::daemon_config(data));
