//! A statement that stays prepared.

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::Text;

/// A statement with parameters of text, whose rows have one column of text. `diesel::sql_query` would prepare it anew, a round trip
/// each time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement<'s> {
    pub(crate) text: &'static str,
    pub(crate) params: &'s [&'s str],
    /// True if it may stay prepared on its connection.
    pub(crate) persistent: bool,
}

impl Query for Statement<'_> {
    type SqlType = Text;
}

/// Known by its text.
impl QueryId for Statement<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Pg> for Statement<'_> {
    /// Diesel numbers parameters by their places, so one that the text has twice is sent twice.
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if !self.persistent {
            out.unsafe_to_cache_prepared();
        }
        for (n, piece) in self.text.split('$').enumerate() {
            let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = piece.split_at(if n == 0 { 0 } else { digits });
            match number.parse::<usize>().ok().and_then(|number| self.params.get(number.checked_sub(1)?)) {
                Some(param) => out.push_bind_param::<Text, _>(param)?,
                None if n > 0 => {
                    out.push_sql("$");
                    out.push_sql(number);
                }
                None => {}
            }
            out.push_sql(rest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use diesel::debug_query;

    use super::*;

    #[test]
    fn each_parameter_stands_in_its_place() {
        let statement =
            Statement { text: "SELECT $2 || $1 || $2 || '$'", params: &["a", "b"], persistent: true };
        let shown = debug_query::<Pg, _>(&statement).to_string();
        assert_eq!(shown, r#"SELECT $1 || $2 || $3 || '$' -- binds: ["b", "a", "b"]"#);
    }
}
