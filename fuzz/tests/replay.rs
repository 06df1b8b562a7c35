//! Runs every target over its committed seeds, on stable Rust. Crashes that fuzzing found are seeds.

use std::collections::BTreeSet;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use fairlead_fuzz::TARGETS;

/// All seeds together: they are part of every clone.
const SEEDS_LIMIT: u64 = 400 * 1024;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn stems(directory: &str) -> BTreeSet<String> {
    let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files(&here(directory)).into_iter().map(name).collect()
}

#[test]
fn every_target_has_a_wrapper_and_seeds_and_there_are_no_others() {
    let names: BTreeSet<_> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(names.len(), TARGETS.len(), "a name stands twice in TARGETS");
    assert_eq!(stems("fuzz_targets"), names);
    assert_eq!(stems("seeds"), names);
}

#[test]
fn no_seed_breaks_a_promise() {
    let mut total = 0;
    for target in TARGETS {
        let seeds = files(&here("seeds").join(target.name));
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for seed in seeds {
            let data = fs::read(&seed).unwrap();
            total += data.len() as u64;
            assert!(
                data.len() <= target.max_len,
                "{} is too long",
                seed.display()
            );
            let run = panic::catch_unwind(|| (target.run)(&data));
            assert!(run.is_ok(), "{} breaks {}", seed.display(), target.name);
        }
        (target.run)(&[]);
    }
    assert!(total <= SEEDS_LIMIT, "{total} bytes of seeds");
}
