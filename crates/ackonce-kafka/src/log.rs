//! Says a trouble once, and then once a minute while it lasts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The shortest time between two log lines about the same trouble.
const EVERY: Duration = Duration::from_secs(60);
/// Troubles that are remembered; more than these are said each time.
const MOST: usize = 256;

/// The troubles that were said, by a key.
#[derive(Debug, Default)]
pub(crate) struct Quiet(HashMap<String, (Instant, u64)>);

impl Quiet {
    /// `Some` with the number of unsaid repetitions if the trouble should be said now.
    pub(crate) fn ask(&mut self, key: &str) -> Option<u64> {
        let now = Instant::now();
        match self.0.get_mut(key) {
            Some((said, unsaid)) if now.duration_since(*said) < EVERY => {
                *unsaid += 1;
                None
            }
            Some(entry) => Some(std::mem::replace(entry, (now, 0)).1),
            None => {
                if self.0.len() >= MOST {
                    self.0.retain(|_, (said, _)| now.duration_since(*said) < EVERY);
                }
                if self.0.len() < MOST {
                    self.0.insert(key.to_owned(), (now, 0));
                }
                Some(0)
            }
        }
    }

    /// True if it was said: its end is worth a line, too.
    pub(crate) fn over(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_trouble_is_said_once() {
        let mut quiet = Quiet::default();
        assert_eq!(quiet.ask("down"), Some(0));
        assert_eq!((quiet.ask("down"), quiet.ask("other")), (None, Some(0)));
        assert!(quiet.over("down") && !quiet.over("down"));
        assert_eq!(quiet.ask("down"), Some(0));
    }
}
