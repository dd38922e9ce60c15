//! SIGINT and SIGTERM: the first asks everything to come to an end and clean up, the second ends the process.
//!
//! One wish may come as several signals: `timeout` sends one to its child and another to the group. So what follows within
//! [`ECHO`] of the first is the first.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::run::wall_clock;

/// How long after the first signal another one means nothing new. Nobody presses a key twice on purpose so fast and has read
/// what the first has done.
const ECHO: Duration = Duration::from_millis(300);

/// Signals go to the process, so there is one flag. Nothing sets it but a signal.
static STOP: AtomicBool = AtomicBool::new(false);
static LISTENING: Once = Once::new();

/// The flag; set at the first signal.
pub(crate) fn flag() -> &'static AtomicBool {
    &STOP
}

/// Whether the user wants an end. Stories look at it before each step.
pub(crate) fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Listens from now on; a second call changes nothing. Where signals cannot be heard, they end the process by themselves.
pub(crate) fn listen() {
    LISTENING.call_once(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        // Both are heard before this returns: nothing is created by then.
        let entered = runtime.enter();
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        drop(entered);
        #[expect(
            clippy::disallowed_methods,
            reason = "signals are outside every world; nothing judged runs here"
        )]
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let mut first = None;
                loop {
                    tokio::select! {
                        biased;
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                    match first {
                        None => {
                            first = Some(wall_clock());
                            STOP.store(true, Ordering::Relaxed);
                            eprintln!("sanbench: interrupted; cleaning up (again to quit at once)");
                        }
                        Some(first) if first.elapsed() < ECHO => {}
                        Some(_) => std::process::exit(130),
                    }
                }
            });
        });
    });
}
