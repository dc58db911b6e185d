//! A client of the store: here, or in a process of its own.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use ackonce::Scope;
use ackonce::store::{Filter, Inspect, Note, Query, RecordTarget, Settled};
use serde::{Deserialize, Serialize};

use super::call::{Answer, Call, KEYS, key};

/// The mark of a line that is an answer: a test harness prints lines of its own.
const MARK: &str = "= ";

/// A client of the store under test.
#[derive(Debug, Clone)]
pub struct Party(Place);

#[derive(Debug, Clone)]
enum Place {
    Here(Arc<dyn Inspect>),
    Process(Arc<Mutex<Process>>),
}

impl Party {
    /// A client in this process.
    #[must_use]
    pub fn here(store: Arc<dyn Inspect>) -> Self {
        Self(Place::Here(store))
    }

    /// A client in a process of its own, which calls [`serve`]. It is killed when the client is dropped.
    ///
    /// # Panics
    /// The process cannot be started, or does not serve.
    #[must_use]
    pub fn process(mut command: Command) -> Self {
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let process = process.map_err(|e| e.to_string()).and_then(Process::of);
        let process = process.unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self(Place::Process(Arc::new(Mutex::new(process))))
    }

    /// The answer at `now`, of a clock that the test moves.
    pub(super) async fn call(&self, scope: &Scope, now: Option<u64>, call: Call) -> Result<Answer, String> {
        match &self.0 {
            Place::Here(store) => answer(&**store, scope, &call).await,
            Place::Process(process) => {
                let (process, scope) = (process.clone(), scope.name().to_owned());
                let ask = move || {
                    let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
                    process.ask(&Order { scope, now, call })
                };
                tokio::task::spawn_blocking(ask).await.map_err(|e| e.to_string())?
            }
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    scope: String,
    now: Option<u64>,
    call: Call,
}

#[derive(Debug)]
struct Process {
    child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn of(mut child: Child) -> Result<Self, String> {
        let (Some(orders), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".to_owned());
        };
        let mut process = Self { child, orders, lines: BufReader::new(output).lines() };
        process.read()?;
        Ok(process)
    }

    fn ask(&mut self, order: &Order) -> Result<Answer, String> {
        let line = serde_json::to_string(order).map_err(|e| e.to_string())?;
        writeln!(self.orders, "{line}").map_err(|e| format!("the process has ended: {e}"))?;
        serde_json::from_str::<Result<Answer, String>>(&self.read()?).map_err(|e| e.to_string())?
    }

    fn read(&mut self) -> Result<String, String> {
        for line in &mut self.lines {
            if let Some(answer) = line.map_err(|e| e.to_string())?.strip_prefix(MARK) {
                return Ok(answer.to_owned());
            }
        }
        Err("the process has ended".to_owned())
    }
}

impl Drop for Process {
    /// `SIGKILL`: it tells the store nothing.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The work of the process of [`Party::process`]: calls of the store as standard input says, until that ends. `now` is
/// told the time of a clock that the test moves, in microseconds since the Unix epoch.
///
/// # Panics
/// Its standard input or output is not that of [`Party::process`].
pub async fn serve(store: &dyn Inspect, now: impl Fn(u64)) {
    println!("\n{MARK}ready");
    for line in std::io::stdin().lines() {
        let order = line.map_err(|e| e.to_string()).and_then(|line| {
            let order: Order = serde_json::from_str(&line).map_err(|e| e.to_string())?;
            let scope = Scope::new(order.scope.clone()).map_err(|e| e.to_string())?;
            Ok((order, scope))
        });
        let (order, scope) = order.unwrap_or_else(|e| panic!("not a call: {e}"));
        order.now.into_iter().for_each(&now);
        let answer = answer(store, &scope, &order.call).await;
        let answer = serde_json::to_string(&answer).unwrap_or_else(|e| panic!("no answer: {e}"));
        println!("{MARK}{answer}");
    }
}

async fn answer(store: &dyn Inspect, scope: &Scope, call: &Call) -> Result<Answer, String> {
    asked(store, scope, call).await.map_err(|e| format!("no answer to {call:?}: {}", ackonce::chain(&e)))
}

async fn asked(store: &dyn Inspect, scope: &Scope, call: &Call) -> ackonce::Result<Answer> {
    Ok(match call {
        Call::Claim(asks) => {
            let requests: Vec<_> = asks.iter().map(|ask| ask.request(scope)).collect();
            let answers = store.claim(&requests).await?;
            Answer::Claimed(answers.into_iter().map(Into::into).collect())
        }
        Call::Settle(acts) => {
            let settlements: Vec<_> = acts.iter().map(|act| act.settlement(scope)).collect();
            let answers = store.settle(&settlements).await?;
            Answer::Settled(answers.into_iter().map(|answer| answer == Settled::Yes).collect())
        }
        Call::Tend(tend) => {
            let note = Note { actor: "a test".to_owned(), reason: "to see".to_owned() };
            let (key, entry) = (key(scope, tend.key), tend.shown.as_ref().and_then(|shown| shown.entry()));
            let target = entry.as_ref().map_or(RecordTarget::Key(&key), RecordTarget::Listed);
            let outcome = match tend.redrive {
                true => store.redrive(target, &note).await?,
                false => store.forget(target, &note).await?,
            };
            Answer::Tended(outcome.into())
        }
        Call::Look => {
            let mut looked = Vec::new();
            for n in 0..KEYS {
                looked.push(store.look(&key(scope, n)).await?.map(Into::into));
            }
            Answer::Looked(looked)
        }
        Call::List => {
            let mut query = Query { filter: Filter::default(), limit: 50, after: None };
            let mut listed = Vec::new();
            loop {
                let page = store.list(&query).await?;
                listed.extend(page.entries.into_iter().map(Into::into));
                query.after = page.next;
                if query.after.is_none() {
                    break Answer::Listed(listed);
                }
            }
        }
        Call::Sweep => {
            store.sweep().await?;
            Answer::Swept
        }
    })
}
