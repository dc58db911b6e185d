//! The IDs of sampled messages.

use std::collections::HashMap;

use ackonce::adapter::Identify;
use ackonce::store::{DEFAULT_MAX_ID_LEN, Fingerprint};
use ackonce::{IdError, MessageIds};
use bytes::Bytes;

use crate::doctor::checks::Check;
use crate::doctor::checks::messages as check;
use crate::doctor::exam::Exam;

/// All of them, for a sample that could not be taken.
pub(in crate::doctor) const ALL: [&Check; 5] =
    [&check::NO_ID, &check::BAD_ID, &check::LONG_ID, &check::SHARED_ID, &check::UNSTABLE_ID];

/// Messages with a fault in common: how many, and the first of them.
#[derive(Default)]
struct Group {
    count: usize,
    first: Option<String>,
}

impl Group {
    fn add(&mut self, shown: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(shown);
    }

    fn told(self, all: usize) -> Option<String> {
        self.first.map(|first| format!("{} of {all} messages; the first: {first}", self.count))
    }
}

/// Judges the IDs of these messages, which `show` names.
pub(in crate::doctor) fn judge<M: Identify>(
    messages: &[M],
    ids: &MessageIds,
    show: impl Fn(&M) -> String,
    place: &str,
    exam: &mut Exam,
) {
    let (mut missing, mut bad, mut long) = (Group::default(), Group::default(), Group::default());
    let (mut shared, mut unstable) = (Group::default(), Group::default());
    let mut by_id: HashMap<Bytes, Option<Fingerprint>> = HashMap::new();
    let mut by_payload: HashMap<Fingerprint, Bytes> = HashMap::new();
    for message in messages {
        let id = match ids.find(message) {
            Ok(id) => id,
            Err(IdError::Missing(_)) => {
                missing.add(|| show(message));
                continue;
            }
            Err(error) => {
                bad.add(|| format!("{} ({error})", show(message)));
                continue;
            }
        };
        if id.len() > DEFAULT_MAX_ID_LEN {
            long.add(|| format!("{} ({} bytes)", show(message), id.len()));
            continue;
        }
        let payload = message.payload().filter(|payload| !payload.is_empty());
        let fingerprint = payload.map(Fingerprint::of);
        if *by_id.entry(id.clone()).or_insert(fingerprint) != fingerprint {
            shared.add(|| format!("{} (ID {:?})", show(message), String::from_utf8_lossy(&id)));
        } else if let Some(fingerprint) = fingerprint
            && *by_payload.entry(fingerprint).or_insert_with(|| id.clone()) != id
        {
            unstable.add(|| show(message));
        }
    }
    let all = messages.len();
    exam.sampled = Some(all);
    // Of an empty source nothing is known.
    if all == 0 {
        return;
    }
    let mut place = exam.of(place);
    for (check, group) in [
        (&check::NO_ID, missing),
        (&check::BAD_ID, bad),
        (&check::LONG_ID, long),
        (&check::SHARED_ID, shared),
        (&check::UNSTABLE_ID, unstable),
    ] {
        place.look(check, group.told(all));
    }
}
