//! A journal's files from outside: where its records lie, harm to them, and what a process that died leaves behind.
//!
//! Reads the documented layout by itself, so that the journal is not its own witness.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Harm;
use super::ledger::Ledger;
use crate::segments;

const HEADER_BYTES: usize = 64;
const HEAD_BYTES: usize = 28;

/// Where a frame lies.
pub struct Place {
    pub file: PathBuf,
    pub offset: u64,
}

/// Everything that looks like a whole frame, by its position. What it looks like may be damaged.
pub fn frames(directory: &Path) -> BTreeMap<u64, Vec<(Place, Vec<u8>)>> {
    let mut found: BTreeMap<u64, Vec<(Place, Vec<u8>)>> = BTreeMap::new();
    for file in segments(directory) {
        let bytes = fs::read(&file).unwrap();
        for offset in HEADER_BYTES..bytes.len() {
            let Some(head) = bytes[offset..].first_chunk::<HEAD_BYTES>().filter(|head| head.starts_with(b"WREC"))
            else {
                continue;
            };
            let length = u32::from_le_bytes(*head[4..].first_chunk().unwrap()) as usize;
            let position = u64::from_le_bytes(*head[8..].first_chunk().unwrap());
            if let Some(frame) = bytes.get(offset..offset + HEAD_BYTES + length) {
                let place = Place { file: file.clone(), offset: offset as u64 };
                found.entry(position).or_default().push((place, frame.to_vec()));
            }
        }
    }
    found
}

/// A frame's payload.
pub fn payload(frame: &[u8]) -> &[u8] {
    &frame[HEAD_BYTES..]
}

/// What all files take.
pub fn bytes(directory: &Path) -> u64 {
    fs::read_dir(directory).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// The directory as a process leaves it that dies now.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

pub fn flip_bit(file: &Path, offset: u64, bit: usize) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let at = offset + (bit / 8) as u64;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], at).unwrap();
}

/// Where a segment's records end, or its header does: what follows is zeros.
pub fn end(file: &Path) -> u64 {
    let bytes = fs::read(file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let frames = frames(file.parent().unwrap()).into_values().flatten().filter(|(place, _)| place.file == file);
    let last = frames.map(|(place, frame)| place.offset + frame.len() as u64).max();
    last.unwrap_or(0).max(end.max(bytes.len().min(HEADER_BYTES)) as u64)
}

/// Sets a file's length.
pub fn resize(file: &Path, length: u64) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

impl Harm {
    /// Does it to the files. Returns how many bytes they take more for it.
    pub fn befall(&self, directory: &Path, ledger: &Ledger) -> u64 {
        let files = segments(directory);
        let newest = files.last();
        let length = |file: &Path| fs::metadata(file).unwrap().len();
        match self {
            Self::FlipRecord { record, bit } => ledger.flip(directory, *record, *bit),
            Self::FlipHeader { segment, bit } if !files.is_empty() => {
                let file = segment.get(&files);
                if length(file) >= HEADER_BYTES as u64 {
                    flip_bit(file, 0, bit.index(HEADER_BYTES * 8));
                }
            }
            Self::Truncate { segment, length: to } if !files.is_empty() => {
                let file = segment.get(&files);
                resize(file, to.index(usize::try_from(length(file)).unwrap() + 1) as u64);
            }
            Self::Remove { segment } if !files.is_empty() => fs::remove_file(segment.get(&files)).unwrap(),
            Self::Zeroes(count) => {
                if let Some(newest) = newest {
                    resize(newest, length(newest) + *count as u64);
                    return *count as u64;
                }
            }
            Self::Garbage(garbage) => {
                if let Some(newest) = newest {
                    crate::overwrite(newest, length(newest), garbage);
                    return garbage.len() as u64;
                }
            }
            Self::FlipHeader { .. } | Self::Truncate { .. } | Self::Remove { .. } => {}
        }
        0
    }
}
