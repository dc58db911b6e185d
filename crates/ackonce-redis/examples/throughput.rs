//! Claims and settlements per second in batches, beside a bare `SET NX PX` pipeline of the same size, and the
//! time Redis itself computes for them, which a busy machine does not change as much.
//!
//! ```sh
//! scripts/servers run redis -- cargo run -p ackonce-redis --example throughput --release [-- BATCH [MESSAGES]]
//! ```
//!
//! `scripts/servers` starts a Redis that flushes its log with every write (`appendfsync always`).

use std::time::{Duration, Instant};

use ackonce::{ClaimRequest, Claimed, Deduplicator, Fingerprint, Scope, Settle, Settlement, Token};
use ackonce_redis::RedisConfig;
use redis::aio::MultiplexedConnection;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const HOUR: Duration = Duration::from_secs(3600);

fn name() -> String {
    format!("{:032x}", u128::from_be_bytes(Token::random().0))
}

struct Bench {
    redis: MultiplexedConnection,
    messages: u32,
}

impl Bench {
    /// Seconds that Redis's own thread has computed.
    async fn cpu(&mut self) -> Result<f64> {
        let info: String = redis::cmd("INFO").arg("cpu").query_async(&mut self.redis).await?;
        let spent =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        let parts = ["used_cpu_user_main_thread:", "used_cpu_sys_main_thread:"].map(spent);
        Ok(parts.into_iter().flatten().sum())
    }

    async fn report<T>(&mut self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let (cpu, began) = (self.cpu().await?, Instant::now());
        let made = work.await?;
        let rate = f64::from(self.messages) / began.elapsed().as_secs_f64();
        let each = (self.cpu().await? - cpu) * 1e6 / f64::from(self.messages);
        println!("{what:36} {rate:>9.0} messages/s, {each:>5.1} µs of Redis each");
        Ok(made)
    }
}

async fn bare(mut redis: MultiplexedConnection, messages: u32, batch: usize) -> Result<()> {
    for _ in 0..messages as usize / batch {
        let mut pipe = redis::pipe();
        for _ in 0..batch {
            pipe.cmd("SET").arg(name()).arg("1").arg("NX").arg("PX").arg(3_600_000).ignore();
        }
        pipe.query_async::<()>(&mut redis).await?;
    }
    Ok(())
}

async fn claim(store: &dyn Deduplicator, requests: &[ClaimRequest], batch: usize) -> Result<Vec<Settlement>> {
    let mut settlements = Vec::new();
    for requests in requests.chunks(batch) {
        settlements.extend(store.claim(requests).await?.into_iter().filter_map(|answer| match answer {
            Claimed::Acquired(lease) => {
                Some(Settlement::new(&lease, Settle::Complete { window: HOUR, outcome: None }))
            }
            _ => None,
        }));
    }
    Ok(settlements)
}

async fn settle(store: &dyn Deduplicator, settlements: &[Settlement], batch: usize) -> Result<()> {
    for settlements in settlements.chunks(batch) {
        store.settle(settlements).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::var("ACKONCE_TEST_REDIS").unwrap_or_else(|_| "redis://127.0.0.1/".into());
    let mut args = std::env::args().skip(1);
    let batch: usize = args.next().map_or(Ok(1000), |n| n.parse())?;
    let messages: u32 = args.next().map_or(Ok(200_000), |n| n.parse())?;
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let client = redis::Client::open(url.as_str())?;
    let redis = client.get_multiplexed_async_connection_with_config(&patient).await?;
    let mut bench = Bench { redis: redis.clone(), messages };

    println!("{messages} messages in batches of {batch}");
    bench.report("bare SET NX PX pipeline", bare(redis, messages, batch)).await?;
    let store = RedisConfig::new(&url)
        .with_prefix(name())
        .with_response_timeout(Duration::from_secs(60))
        .connect()
        .await?;
    let scope = Scope::new("orders/charge-card")?;
    let requests = (0..messages).map(|_| {
        let (key, token) = (scope.key(name())?, Token::random());
        let fingerprint = Some(Fingerprint(Token::random().0));
        Ok(ClaimRequest { key, token, lease: HOUR, window: HOUR, fingerprint })
    });
    let requests = requests.collect::<Result<Vec<_>>>()?;
    let settlements = bench.report("claims", claim(&store, &requests, batch)).await?;
    bench.report("completions", settle(&store, &settlements, batch)).await?;
    bench.report("claims of duplicates", claim(&store, &requests, batch)).await?;
    Ok(())
}
