//! Prints each target and the longest input it takes, for scripts/fuzz.

fn main() {
    for target in fairlead_fuzz::TARGETS {
        println!("{} {}", target.name, target.max_len);
    }
}
