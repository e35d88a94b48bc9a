//! Murmur3, 32 bits, x86 variant, seed 0: the hash of the bucket transform (spec, appendix B).

pub(super) fn murmur3(bytes: &[u8]) -> u32 {
    let mut hash = 0u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        hash ^= scramble(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    let mut tail = 0u32;
    for (at, byte) in words.remainder().iter().enumerate() {
        tail |= u32::from(*byte) << (8 * at);
    }
    // A tail of zero bytes scrambles to zero, as in the reference.
    hash ^= scramble(tail);
    hash ^= bytes.len() as u32;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

fn scramble(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51)
        .rotate_left(15)
        .wrapping_mul(0x1b87_3593)
}
