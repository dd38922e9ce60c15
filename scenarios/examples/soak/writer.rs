//! An initiator and its model: every block that it writes says who wrote it, where, and when.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use super::iscsi::Session;
use super::soak::{Dice, Shared};

/// Pages of 4 KiB that a writer uses.
const PAGES: u64 = 1024;
const BLOCKS: usize = 8;

/// What a page may hold: the write that is durable, and those that may have become so since.
#[derive(Debug, Clone, Default)]
struct Page {
    durable: u64,
    maybe: Vec<u64>,
}

impl Page {
    fn allows(&self, write: u64) -> bool {
        self.durable == write || self.maybe.contains(&write)
    }
    fn settle(&mut self, write: u64) {
        (self.durable, self.maybe) = (write, Vec::new());
    }
}

pub struct Writer {
    number: u64,
    address: SocketAddr,
    iqn: String,
    lun: u16,
    cached: bool,
    dice: Dice,
    last: u64,
    pages: BTreeMap<u64, Page>,
    session: Option<Session>,
    pub writes: u64,
    pub reads: u64,
}

fn block(writer: u64, page: u64, write: u64, n: usize) -> [u8; 512] {
    let mut block = [0; 512];
    if write > 0 {
        for (chunk, word) in block.chunks_exact_mut(8).zip([writer, page, write, n as u64].iter().cycle()) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
    }
    block
}

fn rw(op: u8, flags: u8, page: u64, pages: u64) -> [u8; 10] {
    let mut cdb = [op, flags, 0, 0, 0, 0, 0, 0, 0, 0];
    cdb[2..6].copy_from_slice(&((page * BLOCKS as u64) as u32).to_be_bytes());
    cdb[7..9].copy_from_slice(&((pages * BLOCKS as u64) as u16).to_be_bytes());
    cdb
}

impl Writer {
    pub fn new(number: u64, address: SocketAddr, iqn: &str, lun: u16, seed: u64) -> Self {
        Self {
            number,
            address,
            iqn: iqn.to_owned(),
            lun,
            cached: number % 2 == 1,
            dice: Dice::new(seed ^ ((number + 1) << 32)),
            last: 0,
            pages: BTreeMap::new(),
            session: None,
            writes: 0,
            reads: 0,
        }
    }

    /// Works until told to stop; an error is a broken promise.
    pub fn run(&mut self, shared: &Shared) -> Result<(), String> {
        while shared.goes_on() {
            if let Err(error) = self.step()? {
                self.session = None;
                shared.wait_a_moment(&error)?;
            }
        }
        Ok(())
    }

    /// Reads everything at the end.
    pub fn verify(&mut self, shared: &Shared) -> Result<(), String> {
        loop {
            match self.connect().and_then(|()| self.read_all()) {
                Ok(verdict) => return verdict,
                Err(error) => {
                    self.session = None;
                    shared.wait_a_moment(&error)?;
                }
            }
        }
    }

    fn connect(&mut self) -> io::Result<()> {
        if self.session.is_some() {
            return Ok(());
        }
        let name = format!("iqn.2026-01.example:soak-{}", self.number);
        let mut session = Session::log_in(self.address, &self.iqn, self.lun, &name, self.number as u16)?;
        if self.cached {
            // MODE SELECT(6), caching page with WCE; ours is the only field that may differ from what is.
            let mut list = vec![0, 0, 0, 0, 0x08, 0x12];
            let (status, now) = session.command(&[0x1a, 0x08, 0x08, 0, 0xff, 0], &[], 255)?;
            if status == 0 && now.len() >= 24 {
                list[4..].copy_from_slice(&now[4..6]);
                list.extend_from_slice(&now[6..24]);
                list[4] &= 0x3f;
                list[6] |= 0x04;
                let (status, _) = session.command(&[0x15, 0x10, 0, 0, list.len() as u8, 0], &list, 0)?;
                if status != 0 {
                    return Err(io::Error::other("the write cache cannot be switched on"));
                }
            }
        }
        self.session = Some(session);
        Ok(())
    }

    fn send(&mut self, cdb: &[u8], out: &[u8], room: usize) -> io::Result<Vec<u8>> {
        let session = self.session.as_mut().ok_or_else(|| io::Error::other("no session"))?;
        match session.command(cdb, out, room)? {
            (0, data) => Ok(data),
            // A power cycle or another session's doing may wait for us: then nothing has been done yet.
            (status, _) => Err(io::Error::other(format!("status {status:02x} for {:02x}", cdb[0]))),
        }
    }

    fn step(&mut self) -> Result<io::Result<()>, String> {
        if self.session.is_none() {
            // What was not sure is looked at first, on the disk.
            return match self.connect().and_then(|()| self.read_all()) {
                Ok(verdict) => verdict.map(Ok),
                Err(error) => Ok(Err(error)),
            };
        }
        let most = if self.dice.below(8) == 0 { 16 } else { 2 };
        let count = 1 + self.dice.below(most);
        let page = self.dice.below(PAGES - count);
        match self.dice.below(10) {
            0..=5 => Ok(self.write(page, count)),
            6 => Ok(self.unmap(page, count)),
            7 => Ok(self.sync()),
            _ => match self.read(page, count) {
                Ok(verdict) => verdict.map(Ok),
                Err(error) => Ok(Err(error)),
            },
        }
    }

    /// A change of pages that may or may not happen, until `done` says that it has, durably or not.
    fn change(
        &mut self,
        page: u64,
        count: u64,
        write: u64,
        cdb: &[u8],
        out: &[u8],
        durably: bool,
    ) -> io::Result<()> {
        for page in page..page + count {
            self.pages.entry(page).or_default().maybe.push(write);
        }
        self.send(cdb, out, 0)?;
        self.writes += 1;
        for page in page..page + count {
            let page = self.pages.entry(page).or_default();
            if durably {
                page.settle(write);
            }
        }
        Ok(())
    }

    fn write(&mut self, page: u64, count: u64) -> io::Result<()> {
        self.last += 1;
        let (write, number) = (self.last, self.number);
        let data: Vec<u8> = (page..page + count)
            .flat_map(|page| (0..BLOCKS).flat_map(move |n| block(number, page, write, n)))
            .collect();
        let fua = self.cached && self.dice.below(6) == 0;
        let cdb = rw(0x2a, if fua { 0x08 } else { 0 }, page, count);
        self.change(page, count, write, &cdb, &data, fua || !self.cached)
    }

    fn unmap(&mut self, page: u64, count: u64) -> io::Result<()> {
        let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
        list.extend_from_slice(&(page * BLOCKS as u64).to_be_bytes());
        list.extend_from_slice(&((count * BLOCKS as u64) as u32).to_be_bytes());
        list.extend_from_slice(&[0; 4]);
        let durably = !self.cached;
        self.change(page, count, 0, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list, durably)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.send(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 0)?;
        for page in self.pages.values_mut() {
            if let Some(last) = page.maybe.last().copied() {
                page.settle(last);
            }
        }
        Ok(())
    }

    /// Reads pages while nothing is in doubt but what is volatile: the newest must be there.
    fn read(&mut self, page: u64, count: u64) -> io::Result<Result<(), String>> {
        let data = self.send(&rw(0x28, 0, page, count), &[], count as usize * 4096)?;
        self.reads += 1;
        for (at, bytes) in (page..).zip(data.chunks_exact(4096)) {
            let model = self.pages.get(&at).cloned().unwrap_or_default();
            let newest = model.maybe.last().copied().unwrap_or(model.durable);
            for (n, found) in bytes.chunks_exact(512).enumerate() {
                if found != block(self.number, at, newest, n) {
                    return Ok(Err(self.complaint(at, n, found, &format!("write {newest}"))));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Reads everything behind a restart: each block must be durable, or one of those that may be. What is found is what
    /// there is from now on.
    fn read_all(&mut self) -> io::Result<Result<(), String>> {
        // The process may be the old one: then what is volatile becomes durable now.
        self.send(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 0)?;
        let mut mixed = Vec::new();
        for start in (0..PAGES).step_by(16) {
            let data = self.send(&rw(0x28, 0, start, 16), &[], 16 * 4096)?;
            self.reads += 1;
            for (at, bytes) in (start..).zip(data.chunks_exact(4096)) {
                let model = self.pages.entry(at).or_default().clone();
                let mut seen = Vec::new();
                for (n, found) in bytes.chunks_exact(512).enumerate() {
                    let write = u64::from_be_bytes(found[16..24].try_into().map_err(io::Error::other)?);
                    if found != block(self.number, at, write, n) || !model.allows(write) {
                        return Ok(Err(self.complaint(at, n, found, &format!("{model:?}"))));
                    }
                    seen.push(write);
                }
                seen.dedup();
                match seen[..] {
                    [one] => self.pages.entry(at).or_default().settle(one),
                    _ => mixed.push(at),
                }
            }
        }
        // Legal, since blocks are what is atomic; a new write makes it simple again.
        for page in mixed {
            self.write(page, 1)?;
        }
        Ok(Ok(()))
    }

    fn complaint(&self, page: u64, n: usize, found: &[u8], wanted: &str) -> String {
        let word = |at: usize| u64::from_be_bytes(found[at..at + 8].try_into().unwrap_or_default());
        let found = format!("writer {} page {} write {} block {}", word(0), word(8), word(16), word(24));
        format!(
            "writer {} (cached: {}), page {page} block {n}: found {found}, expected {wanted}",
            self.number, self.cached
        )
    }
}
