//! Damage inside a Parquet file, which keeps its frame: the footer's length fits again, so that the
//! damage is met behind it.

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::raw;

const MAGIC: &[u8] = b"PAR1";
const TAIL_BYTES: usize = 8;

/// Where the footer begins; `None` when it is no such file.
fn footer_at(file: &[u8]) -> Option<usize> {
    let rest = file.strip_suffix(MAGIC)?;
    let length = u32::from_le_bytes(*rest.last_chunk()?) as usize;
    file.len().checked_sub(length + TAIL_BYTES)
}

/// Damages the footer only.
pub(crate) fn damage_footer(rng: &mut StdRng, file: &mut Vec<u8>, other: &[u8]) {
    let Some(at) = footer_at(file) else {
        return;
    };
    let mut footer = file[at..file.len() - TAIL_BYTES].to_vec();
    let donor = footer_at(other).map_or(other, |at| &other[at..]);
    raw::damage(rng, &mut footer, donor);
    file.truncate(at);
    file.extend(&footer);
    file.extend((footer.len() as u32).to_le_bytes());
    file.extend(MAGIC);
}

/// Damages the pages only; the footer stays where it is, so nothing becomes longer or shorter.
pub(crate) fn damage_pages(rng: &mut StdRng, file: &mut [u8], other: &[u8]) {
    let Some(end) = footer_at(file).filter(|end| *end > MAGIC.len()) else {
        return;
    };
    let mut pages = file[MAGIC.len()..end].to_vec();
    match rng.random_range(0..4) {
        // The header of the first page: what is written here decides how much is allocated.
        0 => {
            let length = pages.len().min(24);
            let mut header = pages[..length].to_vec();
            raw::damage(rng, &mut header, other);
            header.resize(length, 0);
            pages[..length].copy_from_slice(&header);
        }
        _ => raw::damage(rng, &mut pages, other),
    }
    pages.resize(end - MAGIC.len(), 0);
    file[MAGIC.len()..end].copy_from_slice(&pages);
}
