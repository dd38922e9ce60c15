//! The thread that commits. Answers that wait for durability wait for it, all of them together.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sanbench_array::{ArrayHandle, Gate};

use crate::folder::Folder;
use crate::keeper::Keeper;

/// How long what nobody waits for (volatile writes, progress of jobs) may stay in memory.
const IDLE: Duration = Duration::from_secs(1);

/// Commits until it is stopped or a commit fails. Dropping it stops it, behind a last commit.
#[derive(Debug)]
pub struct Committer {
    gate: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread for an array with a gate. It owns keeper and folder from now on.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn start(
        array: ArrayHandle,
        gate: Arc<Gate>,
        keeper: Keeper,
        folder: Folder,
    ) -> io::Result<Committer> {
        let own = Arc::clone(&gate);
        let thread = std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || run(&array, &own, keeper, folder))?;
        Ok(Committer { gate, thread: Some(thread) })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.gate.stop();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of the live make alone: it times real disks")]
fn run(array: &ArrayHandle, gate: &Gate, mut keeper: Keeper, folder: Folder) {
    loop {
        let stops = gate.wait_for_work(IDLE);
        let batch = keeper.collect(&mut array.lock());
        let (promises, pages) = (batch.promises(), batch.pages());
        if keeper.answers_early() {
            gate.publish(promises);
        }
        let began = Instant::now();
        match keeper.commit(batch) {
            Ok(wrote) => {
                if wrote {
                    gate.count_commit(promises, pages, began.elapsed());
                }
                gate.publish(promises);
            }
            Err(error) => {
                gate.fail(error.to_string());
                break;
            }
        }
        if stops {
            break;
        }
    }
    drop(folder);
}
