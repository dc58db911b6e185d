//! A payout in three steps, of which none is repeated after a crash:
//! `cargo run -p examples --bin payout -- --id payout-7 --die-in transfer`
//!
//! It dies after the bank has carried out the transfer and before that is recorded. Run the same line without `--die-in`:
//! the reservation is recorded and not made again, the bank is asked for the transfer under the same key and answers as
//! the first time, and the receipt is sent. Run it once more, and it is a duplicate.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, NoDeadLetters};
use ackonce::{Context, Failure, Keyed, Runner, Scope, Settings};
use ackonce_sqlite::SqliteStore;
use anyhow::Result;
use clap::Parser;

/// Pays out in three steps
#[derive(Debug, Clone, Parser)]
struct Args {
    /// The ID of the payout
    #[arg(long)]
    id: String,
    /// Dies in this step, after its effect: reserve, transfer or receipt
    #[arg(long, value_name = "STEP")]
    die_in: Option<String>,
    /// The directory of the records and of the bank's book
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

struct Payout(Args);

impl Delivery for Payout {
    type Message = Args;
    fn message(&self) -> Args {
        self.0.clone()
    }
}

async fn pay_out(cx: Context, args: Args) -> Result<(), Failure> {
    let effect = async |name: &'static str, key: String| {
        let done = bank(&args.dir, name, &key)?;
        if args.die_in.as_deref() == Some(name) {
            std::process::abort();
        }
        Ok(done)
    };
    let hold = cx.step("reserve", async |step| effect("reserve", step.idempotency_key()).await).await?;
    let transfer = cx.step("transfer", async |step| effect("transfer", step.idempotency_key()).await).await?;
    cx.step("receipt", async |step| effect("receipt", step.idempotency_key()).await).await?;
    println!("paid out {} by {hold} and {transfer}", args.id);
    Ok(())
}

/// A bank that carries out each key once, and answers a repeated one as the first time.
fn bank(dir: &Path, name: &str, key: &str) -> Result<String, std::io::Error> {
    let path = dir.join("bank.txt");
    let book = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
    let number = book.lines().position(|line| line.ends_with(key));
    if number.is_none() {
        let line = format!("{name} {key}\n");
        fs::OpenOptions::new().create(true).append(true).open(&path)?.write_all(line.as_bytes())?;
    }
    println!("{name}: {}", if number.is_some() { "the bank knows the key" } else { "carried out" });
    Ok(format!("{name} no. {}", number.unwrap_or(book.lines().count()) + 1))
}

fn main() -> ExitCode {
    let args = Args::parse();
    examples::log();
    examples::run(async move {
        let store = SqliteStore::open(args.dir.join("payouts.db"))?;
        // Short, so that the claim of a run that died is soon free; the default is 15 seconds.
        let settings = Settings::default().with_lease(Duration::from_secs(1));
        let scope = Scope::new("payouts/pay-out")?;
        let runner =
            Runner::with(Arc::new(store), &scope, Keyed(pay_out), settings, Arc::new(NoDeadLetters))?;
        let receipt = runner.process(Job::new(scope.key(args.id.clone())?, Payout(args))).await?;
        println!("{:?}", receipt.how());
        let _acknowledged = receipt.redeem();
        Ok(())
    })
}
