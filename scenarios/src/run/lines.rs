//! The hashes of all histories, in bounded memory.
//!
//! `history_sha256` is the SHA-256 over the sorted lines `case-id sha256(history)`. Lines beyond what memory may hold are
//! sorted into files of their own and merged at the end; a sweep keeps the merged file, so that shards can be merged again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Lines held in memory.
const HELD: usize = 400_000;

/// Collects lines in any order.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    held: Vec<String>,
    spilled: Vec<tempfile::NamedTempFile>,
    limit: Option<usize>,
}

impl Lines {
    /// Adds the line of one case.
    ///
    /// # Errors
    /// A temporary file cannot be written.
    pub(crate) fn add(&mut self, case: &str, hash: &str) -> io::Result<()> {
        self.held.push(format!("{case} {hash}"));
        if self.held.len() >= self.limit.unwrap_or(HELD) {
            self.spill()?;
        }
        Ok(())
    }

    /// Adds the lines of a file that another run has kept.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn add_file(&mut self, path: &Path) -> io::Result<()> {
        for line in BufReader::new(File::open(path)?).lines() {
            self.held.push(line?);
            if self.held.len() >= self.limit.unwrap_or(HELD) {
                self.spill()?;
            }
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.held.sort_unstable();
        self.held.dedup();
        let mut file = tempfile::NamedTempFile::new()?;
        let mut out = BufWriter::new(file.as_file_mut());
        for line in self.held.drain(..) {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        drop(out);
        self.spilled.push(file);
        Ok(())
    }

    /// Hands all lines in order to `each`, every one once, and answers their hash.
    ///
    /// # Errors
    /// A temporary file cannot be read, or `each` fails.
    pub(crate) fn finish(mut self, mut each: impl FnMut(&str) -> io::Result<()>) -> io::Result<String> {
        self.held.sort_unstable();
        self.held.dedup();
        let mut sources: Vec<Box<dyn Iterator<Item = io::Result<String>>>> =
            vec![Box::new(self.held.into_iter().map(Ok))];
        for file in &self.spilled {
            sources.push(Box::new(BufReader::new(file.reopen()?).lines()));
        }
        let mut heap = BinaryHeap::new();
        for (index, source) in sources.iter_mut().enumerate() {
            if let Some(line) = source.next() {
                heap.push(Reverse((line?, index)));
            }
        }
        let mut hasher = Sha256::new();
        let mut last: Option<String> = None;
        while let Some(Reverse((line, index))) = heap.pop() {
            if let Some(next) = sources[index].next() {
                heap.push(Reverse((next?, index)));
            }
            if last.as_ref() == Some(&line) {
                continue;
            }
            hasher.update(line.as_bytes());
            hasher.update(b"\n");
            each(&line)?;
            last = Some(line);
        }
        Ok(super::hex(&hasher.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_sorted_lines_however_they_came_and_wherever_they_lay() {
        let hash = |numbers: &mut dyn Iterator<Item = u32>, limit| {
            let mut lines = Lines { limit: Some(limit), ..Lines::default() };
            numbers.for_each(|n| lines.add(&format!("swarm/{n}"), &format!("{n:x}")).unwrap());
            let mut all = Vec::new();
            let hash = lines
                .finish(|line| {
                    all.push(line.to_owned());
                    Ok(())
                })
                .unwrap();
            assert!(all.is_sorted());
            assert_eq!(all.len(), 100);
            hash
        };
        let mut hasher = Sha256::new();
        let mut sorted: Vec<String> = (0..100).map(|n| format!("swarm/{n} {n:x}\n")).collect();
        sorted.sort();
        sorted.iter().for_each(|line| hasher.update(line));
        let wanted = super::super::hex(&hasher.finalize());
        assert_eq!(hash(&mut (0..100), 1000), wanted);
        assert_eq!(hash(&mut (0..100).rev(), 7), wanted);
        assert_eq!(hash(&mut (0..100).chain(40..60), 13), wanted);
    }
}
