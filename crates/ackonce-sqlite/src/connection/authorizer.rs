//! The statements that an inbox handler may not run on its transaction: ending it, or changing the store's own
//! tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, Result};

/// The savepoint around one handler.
pub(crate) const SAVEPOINT: &str = "ackonce_item";

/// The table of `ackonce-outbox`, into which a handler publishes.
const OUTBOX: &str = "ackonce_outbox";

/// The rules of a connection, and the switch that turns them on while a handler runs. They are installed once:
/// installing them anew would make SQLite compile every cached statement again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Authorizer(Arc<AtomicBool>);

impl Authorizer {
    /// Turns the rules on or off.
    pub(crate) fn restrict(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    /// Installs the rules on this connection.
    pub(crate) fn install(&self, conn: &mut Connection) -> Result<()> {
        // Once SQLite has rolled the transaction back under a handler, the handler's next statement would commit
        // alone.
        let restricted = Arc::clone(&self.0);
        conn.commit_hook(Some(move || restricted.load(Ordering::Relaxed)))?;
        let restricted = Arc::clone(&self.0);
        conn.authorizer(Some(move |context: AuthContext<'_>| {
            if restricted.load(Ordering::Relaxed) && forbidden(&context.action) {
                Authorization::Deny
            } else {
                Authorization::Allow
            }
        }))
    }
}

fn forbidden(action: &AuthAction<'_>) -> bool {
    use AuthAction as A;
    match action {
        // An attached file commits by itself: SQLite joins files in one commit only without a log.
        A::Transaction { .. } | A::Attach { .. } | A::Detach { .. } => true,
        A::Savepoint { savepoint_name, .. } => savepoint_name.eq_ignore_ascii_case(SAVEPOINT),
        A::Pragma { pragma_name, pragma_value: Some(_) } => {
            SETTINGS.contains(&pragma_name.to_ascii_lowercase().as_str())
        }
        A::Insert { table_name } => is_own_table(table_name) && *table_name != OUTBOX,
        A::Delete { table_name }
        | A::Update { table_name, .. }
        | A::DropTable { table_name }
        | A::AlterTable { table_name, .. }
        | A::CreateTrigger { table_name, .. }
        | A::CreateTempTrigger { table_name, .. } => is_own_table(table_name),
        _ => false,
    }
}

/// The settings that the store makes on its connections and relies on.
const SETTINGS: [&str; 8] = [
    "synchronous",
    "journal_mode",
    "locking_mode",
    "busy_timeout",
    "wal_autocheckpoint",
    "max_page_count",
    "query_only",
    "writable_schema",
];

fn is_own_table(table: &str) -> bool {
    table.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("ackonce_"))
}
