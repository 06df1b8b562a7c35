#![no_main]
use fairlead_fuzz::proto;
libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::client_role(data));
