//! The memory that a settled record takes in Redis: `used_memory` before and after, per ID.
//!
//! ```sh
//! scripts/servers run redis -- cargo run -p ackonce-redis --example bytes_per_id --release [-- COUNT [keep]]
//! ```
//!
//! IDs are random UUIDs of 36 characters, remembered for a week, once without and once with a fingerprint of
//! the payload; with `keep`, also with their names (`Names::Keep`). Fails if a record without its names takes more than 48
//! bytes at a million records.

use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, Fingerprint, Inspect, Settle, Settled, Settlement, Token};
use ackonce::{Deduplicator, Scope};
use ackonce_redis::{Names, RedisConfig};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BATCH: usize = 1000;
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const MOST: f64 = 48.0;

fn uuid() -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(Token::random().0));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

async fn used_memory(redis: &mut redis::aio::MultiplexedConnection) -> Result<f64> {
    let info: String = redis::cmd("INFO").arg("memory").query_async(redis).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.ok_or("no used_memory in INFO")?.trim().parse()?)
}

async fn remember(store: &dyn Deduplicator, count: usize, with_prints: bool) -> Result<()> {
    let scope = Scope::new("orders/charge-card")?;
    for _ in 0..count / BATCH {
        let requests = (0..BATCH).map(|_| {
            let fingerprint = with_prints.then(|| Fingerprint(Token::random().0));
            let (lease, window) = (Duration::from_secs(30), Duration::from_secs(3600));
            Ok(ClaimRequest { key: scope.key(uuid())?, token: Token::random(), lease, window, fingerprint })
        });
        let requests = requests.collect::<Result<Vec<_>>>()?;
        let mut settlements = Vec::with_capacity(BATCH);
        for answer in store.claim(&requests).await? {
            let Claimed::Acquired(lease) = answer else { return Err("a new ID was known".into()) };
            settlements.push(Settlement::new(&lease, Settle::Complete { window: WEEK, outcome: None }));
        }
        if store.settle(&settlements).await?.iter().any(|settled| *settled != Settled::Yes) {
            return Err("a lease was lost".into());
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::var("ACKONCE_TEST_REDIS").unwrap_or_else(|_| "redis://127.0.0.1/".into());
    let count: usize = std::env::args().nth(1).map_or(Ok(1_000_000), |n| n.parse())?;
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let client = redis::Client::open(url.as_str())?;
    let mut redis = client.get_multiplexed_async_connection_with_config(&patient).await?;
    let mut most = 0.0_f64;
    let keep = std::env::args().nth(2).is_some_and(|word| word == "keep");
    let kinds = [
        ("without a fingerprint", false, Names::Buried),
        ("with a fingerprint", true, Names::Buried),
        ("with a scope of 18 and an ID of 36 bytes", false, Names::Keep),
    ];
    for (what, with_prints, names) in kinds.into_iter().take(if keep { 3 } else { 2 }) {
        // As long as the default, since a bucket's name is part of its price.
        let prefix = &uuid()[..7];
        let config = RedisConfig::new(&url).with_prefix(prefix).with_names(names);
        let store = config.with_response_timeout(Duration::from_secs(60)).connect().await?;
        let before = used_memory(&mut redis).await?;
        let began = std::time::Instant::now();
        remember(&store, count, with_prints).await?;
        let records = f64::from(u32::try_from(count)?);
        let rate = records / began.elapsed().as_secs_f64();
        let each = (used_memory(&mut redis).await? - before) / records;
        let stats = store.stats().await?;
        println!("{count} settled records {what}: {each:.1} bytes each of Redis's memory, {rate:.0}/s");
        println!("  {} done, {} bytes in keys", stats.done, stats.bytes.unwrap_or_default());
        if names == Names::Buried {
            most = most.max(each);
        }
    }
    if count == 1_000_000 && most > MOST {
        return Err(format!("{most:.1} bytes, at most {MOST} are promised").into());
    }
    Ok(())
}
