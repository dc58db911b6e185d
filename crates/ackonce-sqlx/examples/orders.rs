//! An order service: each order of the topic `orders` takes a piece out of the stock once, however often it is delivered, and is
//! announced once on the topic `placed`.
//!
//! ```sh
//! DATABASE_URL=postgres://app@localhost/app KAFKA=localhost:9092 cargo run -p ackonce-sqlx --example orders
//! ```

use std::{env, error::Error, sync::Arc};

use ackonce::{CancellationToken, Context, Failure, Scope};
use ackonce_kafka::{ClientConfig, KafkaConsumer, KafkaMessage, KafkaPublisher};
use ackonce_outbox::Outgoing;
use ackonce_postgres::{PostgresConfig, Tables};
use ackonce_sqlx::sqlx::{self, PgPool, PgTransaction};
use ackonce_sqlx::{SqlxInbox, SqlxOutbox};

const TABLES: &str = "CREATE TABLE IF NOT EXISTS stock (item text PRIMARY KEY, pieces int8 NOT NULL CHECK (pieces >= 0));
    CREATE TABLE IF NOT EXISTS orders (item text NOT NULL); INSERT INTO stock VALUES ('book', 30) ON CONFLICT DO NOTHING";
const TAKE: &str = "WITH taken AS (UPDATE stock SET pieces = pieces - 1 WHERE item = $1 RETURNING item)
    INSERT INTO orders SELECT item FROM taken";

type Ended = Result<(), Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Ended {
    serve(&env::var("DATABASE_URL")?, &env::var("KAFKA")?, ackonce::shutdown_on_signals()?).await
}

pub(crate) async fn serve(database: &str, brokers: &str, shutdown: CancellationToken) -> Ended {
    let store = PostgresConfig::new(database)?.with_tables(Tables::CreateMissing).connect().await?;
    let pool = PgPool::connect(database).await?;
    sqlx::raw_sql(TABLES).execute(&pool).await?;
    let outbox = SqlxOutbox::open(&store).await?;

    let publishing = outbox.clone();
    let inbox =
        SqlxInbox::new(&store, pool, move |tx: &mut PgTransaction<'_>, _: Context, order: KafkaMessage| {
            let publishing = publishing.clone();
            Box::pin(async move {
                let item = std::str::from_utf8(order.payload()).map_err(Failure::permanent)?;
                sqlx::query(TAKE).bind(item).execute(&mut **tx).await?;
                publishing
                    .publish(tx, &Outgoing::new("placed", item.to_owned()).with_key(item.to_owned()))
                    .await?;
                Ok::<_, Failure>(())
            })
        });

    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let publisher = KafkaPublisher::new(config.clone(), "orders")?;
    config.set("group.id", "orders");
    let consumer = KafkaConsumer::new(config, &["orders"], &Scope::new("orders/take")?, Arc::new(store));
    let consumer = consumer.with_shutdown(shutdown.clone());
    let relay = outbox.with_shutdown(shutdown);
    tokio::try_join!(consumer.run(outbox.waking(inbox)), relay.run(publisher))?;
    Ok(())
}
