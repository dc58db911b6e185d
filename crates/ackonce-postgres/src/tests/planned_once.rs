//! Statements are planned once, and not for each message.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use ackonce::Scope;
use ackonce::store::{ClaimRequest, Claimed, Settle, Settlement, Token};

use crate::connection::send;
use crate::records::Texts;
use crate::request::{ClaimParams, SettleParams};
use crate::{Names, PostgresConfig, Prepare, SchemaName, Tables};

/// Planning a statement takes longer than running it, so each must be planned once, for single messages, too.
#[tokio::test]
async fn a_statement_is_not_planned_for_each_message() {
    let Some(url) = ackonce_testkit::servers::address("ACKONCE_TEST_POSTGRES") else { return };
    let schema = SchemaName::new(format!("plans {}", std::process::id())).unwrap();
    let config = PostgresConfig::new(&url).unwrap().with_schema(schema.clone());
    let store = config.with_tables(Tables::CreateMissing).connect().await.unwrap();
    let client = store.inner.connector.pool(1).unwrap().get().await.unwrap();
    let cache = &client.statement_cache;
    let (texts, salt) = (Texts::new(&schema), &store.inner.salt);
    let (scope, hour) = (Scope::new("plans").unwrap(), Duration::from_secs(3600));
    for n in 0..20 {
        let key = scope.key(n.to_string()).unwrap();
        let request =
            ClaimRequest { key, token: Token([1; 16]), lease: hour, window: hour, fingerprint: None };
        let asked = [&request];
        let params = ClaimParams::new(&asked, salt, Names::Keep);
        let rows = send(&client, cache, Prepare::Cached, &texts.claim(), &params.as_params()).await.unwrap();
        let answer = params.answers(&asked, &rows).unwrap().pop().unwrap().answer;
        let Claimed::Acquired(lease) = answer else { panic!("{answer:?}") };
        let settlement = Settlement::new(&lease, Settle::Complete { window: hour, outcome: None });
        let params = SettleParams::new(&[&settlement], salt, Names::Keep);
        let text = texts.settle("salt = $1");
        send(&client, cache, Prepare::Cached, &text, &params.as_params()).await.unwrap();
    }
    // The first five are planned for their values, to compare.
    let plans = "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement LIKE 'WITH%'";
    let rows = client.query_typed(plans, &[]).await.unwrap();
    let counts: Vec<(i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(counts, [(5, 15), (5, 15)]);
}
