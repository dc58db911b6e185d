//! Pages of records: of the index of each tag where the filter allows it, else of all records.

use std::time::{Duration, Instant};

use ackonce::store::{Entry, Filter, PAGE_TIME, Page, Query, Record, State};
use ackonce::{Error, ErrorKind, Result};
use bytes::Bytes;

use super::walk::{Listed, Source, Steps, listing};
use crate::connection::Client;
use crate::records::{Field, Row, TAGS};
use crate::request::{Ask, At, Look, Seen, stand_in};

/// The least rows that are read for a page, however long it takes.
const LEAST: usize = 20_000;
/// The last field that there can be.
const LAST: Field = [u8::MAX; 15];

/// The part of a list, and a row in it: the tag and the field. The cursor is the last row of a page.
type Place = (usize, u16, Field);

/// The parts of a list. Claims that were renewed or retried come first, since few others run for long.
fn parts(filter: &Filter) -> &'static [Source] {
    match filter.only() {
        _ if filter.is_void() => &[],
        _ if filter.scope.is_some() => &[Source::Index],
        Some(State::Released | State::Buried) => &[Source::Index],
        Some(State::Claimed) => &[Source::Flagged, Source::Others],
        Some(State::Done) | None => &[Source::All],
    }
}

pub(super) async fn page(client: &Client, query: &Query) -> Result<Page> {
    let after = query.place("redis")?.map(place).transpose()?;
    let (began, limit) = (Instant::now(), query.limit.max(1));
    let mut found: Vec<(usize, Listed)> = Vec::new();
    let (mut read, mut end) = (0, None);
    let parts = parts(&query.filter);
    let first = after.map_or(0, |(part, ..)| part);
    'parts: for (part, source) in parts.iter().enumerate().skip(first) {
        let after = after.filter(|(of, ..)| *of == part).map(|(_, tag, field)| (tag, field));
        let listing = listing(*source, &query.filter);
        let mut steps = Steps::from(after.map_or(0, |(tag, _)| tag));
        loop {
            let tags = steps.tags();
            let Some(last) = tags.last() else { break };
            let (rows, seen) = client.list_tags(&tags, &listing).await?;
            steps.saw(seen);
            read += seen;
            let new = rows.into_iter().filter(|l| after.is_none_or(|after| (l.tag, l.field) > after));
            found.extend(new.map(|listed| (part, listed)));
            if found.len() > limit {
                break 'parts;
            }
            if read >= LEAST && began.elapsed() > PAGE_TIME {
                end = Some((part, *last, LAST));
                break 'parts;
            }
        }
    }
    if found.len() > limit {
        found.truncate(limit);
        end = found.last().map(|(part, listed)| (*part, listed.tag, listed.field));
    }
    let next = end.map(|(part, tag, field)| query.cursor("redis", &cursor(part, tag, &field)));
    let found = found.into_iter().map(|(_, listed)| listed).collect();
    Ok(Page { entries: entries(client, &query.filter, found).await?, next })
}

/// Outcomes and reasons are fetched for the records of the page alone.
async fn entries(client: &Client, filter: &Filter, found: Vec<Listed>) -> Result<Vec<Entry>> {
    let has_body = |listed: &&Listed| listed.row.as_ref().is_some_and(|row| row.has_body);
    let looks: Vec<_> = found
        .iter()
        .filter(has_body)
        .map(|listed| Look { at: At::Listed(listed.tag, listed.field), ask: Ask::Get })
        .collect();
    let mut seen = client.ask(&looks).await?.into_iter();
    let mut entries = Vec::with_capacity(found.len());
    for listed in found {
        let digest = digest(listed.tag, &listed.field);
        let names = listed.names;
        let Some(row) = listed.row else {
            entries.push(entry(digest, names, stand_in(), (Duration::ZERO, Duration::ZERO)));
            continue;
        };
        let (times, state) = (times(&row, listed.now), row.state);
        let record = match row.has_body {
            false => row.record(listed.now, None),
            // It may have been forgotten or redriven since; then it no longer belongs on this page.
            true => match seen.next() {
                Some(Seen::Record(_, row, record)) if row.state == state => record,
                _ => continue,
            },
        };
        let entry = entry(digest, names, record, times);
        if filter.matches(entry.scope.as_deref(), &entry.record) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// The times until the record expires, and until it may be claimed.
pub(super) fn times(row: &Row, now: u64) -> (Duration, Duration) {
    let left = |end: u64| Duration::from_micros(end.saturating_sub(now));
    (left(row.expires), left(row.free_at))
}

pub(super) fn entry(
    digest: Bytes,
    names: Option<(String, Bytes)>,
    record: Record,
    (expires_in, free_in): (Duration, Duration),
) -> Entry {
    let (scope, id) = names.unzip();
    Entry { digest, scope, id, record, expires_in, free_in }
}

/// The name of a record: its tag and its field.
pub(super) fn digest(tag: u16, field: &Field) -> Bytes {
    [tag.to_be_bytes().as_slice(), field].concat().into()
}

/// The tag and the field from such a name.
pub(super) fn named(digest: &[u8]) -> Result<(u16, Field)> {
    let split = digest.split_first_chunk::<2>().map(|(tag, rest)| (u16::from_be_bytes(*tag), rest));
    let named = split.and_then(|(tag, rest)| Some((tag, Field::try_from(rest).ok()?)));
    named.filter(|(tag, _)| *tag < TAGS).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "redis: not a record's digest or a cursor of this store")
    })
}

fn cursor(part: usize, tag: u16, field: &Field) -> Vec<u8> {
    [&[u8::try_from(part).unwrap_or(u8::MAX)], &digest(tag, field)[..]].concat()
}

fn place(cursor: &[u8]) -> Result<Place> {
    let (part, digest) =
        cursor.split_first().map_or((0, cursor), |(part, digest)| (usize::from(*part), digest));
    named(digest).map(|(tag, field)| (part, tag, field))
}
