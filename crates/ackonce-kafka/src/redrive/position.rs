//! The position in one partition of a dead-letter topic.

/// The letters of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// The offset after the last letter that was looked at.
    pub(super) next: i64,
    /// The end of the log at the start of the pass.
    pub(super) end: i64,
    /// The first letter that was left in its place.
    kept: Option<i64>,
}

impl Position {
    /// A partition whose log begins at `low` and ends at `end`. `committed` is the first letter that was not moved, with the
    /// metadata of that commit; the pass of the filter with this digest goes on where it was.
    pub(super) fn new(
        (low, end): (i64, i64),
        committed: Option<i64>,
        metadata: &str,
        digest: Option<&str>,
    ) -> Self {
        let first = committed.unwrap_or(low).clamp(low, end.max(low));
        let resumed = metadata.split_once(' ').and_then(|(of, next)| {
            (Some(of) == digest).then(|| next.parse::<i64>().ok()).flatten().filter(|next| *next > first)
        });
        match resumed {
            Some(next) => Self { next: next.min(end), end, kept: Some(first) },
            None => Self { next: first, end, kept: None },
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.next >= self.end
    }

    pub(super) fn keep(&mut self, offset: i64) {
        self.kept = Some(self.kept.map_or(offset, |kept| kept.min(offset)));
    }

    /// The offset and the metadata to commit. Without a digest the pass is complete, and the next one begins at the first
    /// letter that was left.
    pub(super) fn commit(&self, digest: Option<&str>) -> (i64, String) {
        match (self.kept, digest) {
            (Some(kept), Some(digest)) => (kept, format!("{digest} {}", self.next)),
            (kept, _) => (kept.unwrap_or(self.next), String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_goes_on_where_it_was_and_the_next_one_begins_at_the_first_letter_that_was_left() {
        let mut first = Position::new((0, 100), None, "", Some("a"));
        first.next = 40;
        assert_eq!(first.commit(Some("a")), (40, String::new()), "nothing was left behind");
        first.keep(20);
        first.keep(30);
        let (offset, metadata) = first.commit(Some("a"));
        assert_eq!((offset, metadata.as_str()), (20, "a 40"));

        let again = Position::new((0, 120), Some(20), &metadata, Some("a"));
        assert_eq!((again.next, again.commit(Some("a")).0), (40, 20));
        let other = Position::new((0, 120), Some(20), &metadata, Some("b"));
        assert_eq!((other.next, other.kept), (20, None), "another filter looks at all that were left");
        assert_eq!(again.commit(None), (20, String::new()));
    }

    #[test]
    fn retention_and_a_topic_made_anew_move_the_position_into_the_log() {
        assert_eq!(Position::new((50, 60), Some(20), "", None).next, 50);
        assert_eq!(Position::new((0, 5), Some(20), "a 30", Some("a")).next, 5);
        assert!(Position::new((0, 0), None, "", None).is_over());
        assert_eq!(Position::new((0, 9), Some(2), "a nonsense", Some("a")).next, 2);
    }
}
