//! Seeds: random tests print theirs, and can be given one.

/// The seed of this run: `SNOWPACK_TEST_SEED` when set, else a fresh one. Always printed.
pub fn seed() -> u64 {
    let seed = std::env::var("SNOWPACK_TEST_SEED").map_or_else(
        |_| rand::random(),
        |text| text.parse().expect("SNOWPACK_TEST_SEED is a number"),
    );
    println!("seed {seed} (set SNOWPACK_TEST_SEED={seed} to replay)");
    seed
}

/// The seeds of a run of many random cases: `SNOWPACK_TEST_SEED` alone when set, else as many as
/// the environment's `variable` says, or `count`, counted up from a fresh one.
pub fn seeds(variable: &str, count: usize) -> Vec<u64> {
    let first = seed();
    if std::env::var("SNOWPACK_TEST_SEED").is_ok() {
        return vec![first];
    }
    let count = std::env::var(variable).map_or(count, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number"))
    });
    (0..count as u64)
        .map(|next| first.wrapping_add(next))
        .collect()
}
