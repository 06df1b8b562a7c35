//! Writes the seeds that are made by code. Seeds that fuzzing found are left alone.
//!
//!     cargo run --no-default-features --bin seeds

use std::fs;
use std::path::Path;

fn main() {
    for seed in fairlead_fuzz::proto::seeds::all() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("seeds")
            .join(seed.target);
        fs::create_dir_all(&directory).expect("a directory for the seeds");
        fs::write(directory.join(seed.name), seed.data).expect("a file for the seed");
    }
}
