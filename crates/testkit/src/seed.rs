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
