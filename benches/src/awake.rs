//! Cores that never sleep, as on a machine with something else to do: a loop that waits for one reply after another
//! runs up to twice as fast there, for nobody has to be woken from an idle core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// While it lives, a thread of the lowest priority spins on each core.
pub(crate) struct Awake {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Awake {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                // Of this thread alone, on Linux; elsewhere it may slow the whole process down.
                if rustix::process::nice(19).is_err() {
                    return;
                }
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..std::thread::available_parallelism()?.get()).map(spin).collect();
        Ok(Self { stop, threads })
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
