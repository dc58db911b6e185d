//! No plan reads a whole table for a key, under any statistics and whenever it was made.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use tokio_postgres::{Client, NoTls};

use crate::inspect::list;
use crate::records::{BY_INDEX, LOOK, Texts};
use crate::{PostgresConfig, SchemaName, Tables, enter_sql, finish_sql, inspect};

/// The settings of an inspection.
const IN_ORDER: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off";

/// A statement, the types of its parameters, and the settings that it runs under.
struct Planned {
    name: &'static str,
    text: String,
    types: &'static str,
    settings: &'static str,
}

fn all(schema: &SchemaName) -> Vec<Planned> {
    const CLAIM: &str = "bytea, uuid[], uuid[], int8[], int8[], int8[], text[], bytea[]";
    const SETTLE: &str = "bytea, uuid[], uuid[], int8[], int4[], int8[], int8[], bytea[], text[], bytea[]";
    const LIST: &str = "uuid, text, int8, int8, text, bytea, int8, int8";
    const COMPLETE: &str =
        "bytea, uuid[], uuid[], int8[], int4[], int8[], int8[], bytea[], text[], bytea[], text";
    let texts = Texts::new(schema);
    let planned = |name, text, types, settings| Planned { name, text, types, settings };
    let running = "salt = $1 AND current_setting('ackonce.run', true) = $11";
    vec![
        planned("claim", texts.claim(), CLAIM, BY_INDEX),
        planned("settle", texts.settle("salt = $1"), SETTLE, BY_INDEX),
        planned("look", texts.fill(LOOK), "uuid[]", IN_ORDER),
        planned("list", list::text(&texts, list::Path::Whole), LIST, IN_ORDER),
        planned("list of open records", list::text(&texts, list::Path::Open), LIST, IN_ORDER),
        planned("list of a scope", list::text(&texts, list::Path::Scope), LIST, IN_ORDER),
        planned(
            "list of old records",
            inspect::pages::text(&texts),
            "tid, tid, text, int8, int8, int8",
            IN_ORDER,
        ),
        planned("changes", texts.fill(inspect::CHANGES), "uuid", IN_ORDER),
        planned("sweep", inspect::sweep::text(&texts), "tid, tid", IN_ORDER),
        planned("hold", texts.fill(inspect::repair::HOLD), "uuid", BY_INDEX),
        planned("forget", texts.fill(inspect::repair::FORGET.change), "uuid", BY_INDEX),
        planned("redrive", texts.fill(inspect::repair::REDRIVE.change), "uuid", BY_INDEX),
        // In transactions with the user's own statements.
        planned("look of an inbox", texts.fill(LOOK), "uuid[]", "SET LOCAL enable_seqscan = off"),
        planned("completion of an inbox", texts.settle(running), COMPLETE, "SELECT"),
        planned("enter", enter_sql(schema), "bytea, bytea, int8, bytea, text, bytea", "SELECT"),
        planned("finish", finish_sql(schema), "bytea, bytea, int8, int8, bytea", "SELECT"),
    ]
}

/// The plan that a pooled connection would keep, made now.
async fn plan(client: &Client, planned: &Planned) -> String {
    let Planned { text, types, settings, .. } = planned;
    let nulls = vec!["NULL"; types.split(", ").count()].join(", ");
    let prepare = format!("PREPARE planned ({types}) AS {text}");
    let begin = format!("BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; {settings}");
    for text in [&prepare, &begin] {
        client.batch_execute(text).await.unwrap();
    }
    let lines = client.simple_query(&format!("EXPLAIN EXECUTE planned ({nulls})")).await.unwrap();
    client.batch_execute("ROLLBACK; DEALLOCATE planned").await.unwrap();
    let line = |message: &tokio_postgres::SimpleQueryMessage| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    lines.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_plan_finds_its_rows_by_the_index_whatever_the_statistics() {
    let Some(url) = ackonce_testkit::servers::address("ACKONCE_TEST_POSTGRES") else { return };
    let schema = SchemaName::new(format!("plans by index {}", std::process::id())).unwrap();
    let config = PostgresConfig::new(&url).unwrap().with_schema(schema.clone());
    let _store = config.with_tables(Tables::CreateMissing).connect().await.unwrap();
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&format!("SET search_path = {}", schema.quoted())).await.unwrap();
    let rows =
        "INSERT INTO record (key, fence, expires) SELECT gen_random_uuid(), 1, 1 FROM generate_series(1, 20);
                INSERT INTO name SELECT key, 's', 'i' FROM record";
    let states = ["SELECT", "VACUUM ANALYZE record, name", rows, "VACUUM ANALYZE record, name"];
    for state in states {
        client.batch_execute(state).await.unwrap();
        for planned in all(&schema) {
            let plan = plan(&client, &planned).await;
            for table in ["record", "name", "audit"] {
                for whole in ["Seq Scan", "Bitmap Heap Scan"] {
                    let reads = format!("{whole} on {table}");
                    assert!(!plan.contains(&reads), "{} after {state}:\n{plan}", planned.name);
                }
            }
            // An index that is read from end to end is no better.
            let lines: Vec<_> = plan.lines().collect();
            for pair in lines.windows(2) {
                let scans = pair[0].contains("Index") && pair[0].contains("Scan using");
                let ours = pair[0].contains(" on record") || pair[0].contains(" on name");
                assert!(
                    !(scans && ours) || pair[1].contains("Index Cond"),
                    "{} after {state}:\n{plan}",
                    planned.name
                );
            }
            for (name, index) in [("list of open records", "record_open"), ("list of a scope", "name_scope")]
            {
                let by = format!("Scan using {index}");
                assert!(planned.name != name || plan.contains(&by), "{name} after {state}:\n{plan}");
            }
            assert!(!plan.contains("JIT"), "{} after {state}:\n{plan}", planned.name);
        }
    }
}
