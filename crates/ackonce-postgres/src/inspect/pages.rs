//! Lists of old records, done ones among them: most records are done, and no index tells their age. So the table is read
//! in the order of its pages, which is many times faster than by the keys.

use std::time::Instant;

use ackonce::store::{PAGE_TIME, Page, Query, State};
use ackonce::{Error, ErrorKind, Result};
use tokio_postgres::types::Type;

use super::get;
use super::list::{PageBuilder, foreign};
use crate::connection::{Param, PoolClient};
use crate::records::{LIST_PAGES, Texts, Tid, decode};
use crate::request::micros;

/// Pages of the table per statement: 4 MB, about 70 000 records.
const CHUNK: u32 = 512;

/// True if a list is made so.
pub(super) fn serve(query: &Query) -> bool {
    let filter = &query.filter;
    let may_be_done = filter.only().is_none_or(|state| state == State::Done);
    filter.older_than.is_some_and(|age| !age.is_zero()) && filter.scope.is_none() && may_be_done
}

pub(crate) fn text(texts: &Texts<'_>) -> String {
    texts.fill(LIST_PAGES)
}

/// The page of a query, in the order of the table's pages.
pub(super) async fn by_page(query: Query, client: &PoolClient, texts: &Texts<'_>) -> Result<Page> {
    let start = match query.place("postgres")? {
        None => Tid::before(0),
        Some(place) => Tid::of(place.try_into().map_err(|_| foreign())?),
    };
    let (state, age) = (query.filter.state.map(State::as_str), query.filter.older_than.map(micros));
    let (began, text) = (Instant::now(), text(texts));
    let mut page = PageBuilder::new(query);
    let mut next = Some(start);
    while let Some(from) = next {
        let (to, most) = (Tid::before(from.page.saturating_add(CHUNK)), page.most());
        let params: [Param<'_>; 6] = [
            (&from, Type::TID),
            (&to, Type::TID),
            (&state, Type::TEXT),
            (&most, Type::INT8),
            (&page.left_bytes, Type::INT8),
            (&age, Type::INT8),
        ];
        let rows = client.query("listing records", &text, &params).await?;
        let pages: i64 = rows.first().map_or_else(|| Err(without_rows()), |row| get(row, 13))?;
        next = Some(to).filter(|to| i64::from(to.page) < pages);
        let mut last = from;
        for row in &rows {
            // A part without entries is one row without a key.
            let Some(current) = decode(row)? else { continue };
            if !page.add(current, row)? {
                return Ok(page.end(Some(&last.to_bytes())));
            }
            last = get(row, 14)?;
        }
        if page.is_full() || began.elapsed() > PAGE_TIME {
            break;
        }
    }
    let place = next.map(Tid::to_bytes);
    Ok(page.end(place.as_ref().map(|place| &place[..])))
}

fn without_rows() -> Error {
    Error::new(ErrorKind::Protocol, "postgres: a list without a row")
}
