//! `ackonce schema`.

use clap::Args;

use super::args::{ConsentArgs, StoreArgs, refused};
use super::{confirm, output};
use crate::refusal::Refusal;

/// Print the SQL that creates a store's tables, or create them
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    ackonce schema --store 'postgres://app@db/app?schema=dedup' | psql app\n  \
    ackonce schema --store sqlite:/var/lib/app/dedup.db --apply --yes\n\n\
    The SQL of PostgreSQL is printed without a connection. --apply changes nothing where the tables are there; it needs the right \
    to create them.")]
pub struct SchemaArgs {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// Create the tables unless they are there
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    consent: ConsentArgs,
}

pub(super) async fn run(args: &SchemaArgs) -> Result<(), Refusal> {
    let store = &args.store.store;
    let Some(sql) = store.schema_sql() else {
        return Err(Refusal::usage(format!(
            "--store: {store} has no tables; schema is about sqlite: and postgres://"
        )));
    };
    if !args.apply {
        return output::text(&sql);
    }
    confirm::ask(
        args.consent,
        &format!("The store's tables will be created in {store} unless they are there"),
    )?;
    store.create_schema().await.map_err(|error| refused(&error))?;
    output::text(&format!("the tables are there: {store}\n"))
}
