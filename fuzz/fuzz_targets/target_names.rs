#![no_main]
use fairlead_fuzz::proxy;
libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::target_names(data));
