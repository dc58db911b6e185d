//! Prints the SQL that creates the tables, for migrations by hand, and the two statements of a guard, for
//! other drivers.
//!
//! ```sh
//! cargo run -p ackonce-postgres --example sql -- [SCHEMA] > ackonce.sql
//! ```
#![allow(clippy::print_stdout, reason = "it prints SQL")]

use ackonce_postgres::{PostgresStore, SchemaName, enter_sql, finish_sql};

fn main() -> Result<(), ackonce::Error> {
    let schema = std::env::args().nth(1).map_or_else(|| Ok(SchemaName::default()), SchemaName::new)?;
    println!("{}", PostgresStore::schema_sql(&schema));
    println!("/* enter_sql:\n{}\n*/\n\n/* finish_sql:\n{}\n*/", enter_sql(&schema), finish_sql(&schema));
    Ok(())
}
