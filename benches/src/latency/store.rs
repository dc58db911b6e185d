//! A message handed to the runner until its record, beside the bare trips to the store, and beside the loop by hand.
//! The arms take turns message by message.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ackonce::adapter::{Delivery, Job, Mode, Ordered, Receipt, Unsettled};
use ackonce::store::{ClaimRequest, Claimed, Settle, Settlement, Token};
use ackonce::{Context, Deduplicator, Failure, Runner, Scope};
use anyhow::{Context as _, bail, ensure};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::{PACE, Times};
use crate::messages::{WEEK, id};
use crate::stores::Place;

pub(super) async fn measure(mut place: Place, messages: usize) -> anyhow::Result<Vec<(String, Times)>> {
    let scope = Scope::new("latency")?;
    let mut ackonce = Ackonce::start(place.store.clone(), &scope)?;
    let (mut bare, mut by_hand, mut wrapped) = (Times::default(), Times::default(), Times::default());
    let arms = if place.by_hand.is_some() { 3 } else { 2 };
    let mut turn = interval(PACE / arms);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0..messages as u64 {
        if n % 1000 == 0 {
            eprintln!("{}: {n} of {messages} messages", place.name);
        }
        turn.tick().await;
        trips(&*place.store, &scope, &format!("bare {}", id(n)), &mut bare).await?;
        if let Some(processed) = &mut place.by_hand {
            turn.tick().await;
            let (id, began) = (id(n), Instant::now());
            ensure!(processed.claim(&id).await?, "not a new ID");
            let handled = Instant::now();
            processed.done(&id).await?;
            by_hand.add(handled - began, handled.elapsed());
        }
        turn.tick().await;
        ackonce.one(id(n), &mut wrapped).await?;
    }
    let mut shown = vec![("the two trips alone".to_owned(), bare)];
    if place.by_hand.is_some() {
        shown.push(("by hand".to_owned(), by_hand));
    }
    shown.push(("ackonce".to_owned(), wrapped));
    Ok(shown)
}

/// One claim and its settlement.
async fn trips(store: &dyn Deduplicator, scope: &Scope, id: &str, times: &mut Times) -> anyhow::Result<()> {
    let (key, token) = (scope.key(id.to_owned())?, Token::random());
    let claim = ClaimRequest { key, token, lease: Duration::from_secs(15), window: WEEK, fingerprint: None };
    let began = Instant::now();
    let answers = store.claim(&[claim]).await?;
    let claimed = Instant::now();
    let [Claimed::Acquired(lease)] = &answers[..] else { bail!("not a new ID: {answers:?}") };
    let settlement = Settlement::new(lease, Settle::Complete { window: WEEK, outcome: None });
    let settling = Instant::now();
    store.settle(&[settlement]).await?;
    times.add(claimed - began, settling.elapsed());
    Ok(())
}

/// A runner that is given one message after another.
struct Ackonce {
    scope: Scope,
    input: mpsc::Sender<Vec<Ordered<Probe>>>,
    settled: mpsc::UnboundedReceiver<Instant>,
}

/// A message that notes when its handler ran; that does nothing, so it ends as it starts.
struct Probe(Arc<OnceLock<Instant>>);

impl Delivery for Probe {
    type Message = Arc<OnceLock<Instant>>;

    fn message(&self) -> Self::Message {
        self.0.clone()
    }
}

impl Ackonce {
    fn start(store: Arc<dyn Deduplicator>, scope: &Scope) -> anyhow::Result<Self> {
        let handler = |_: Context, ran: Arc<OnceLock<Instant>>| async move {
            ran.get_or_init(Instant::now);
            Ok::<(), Failure>(())
        };
        let runner = Runner::new(store, scope, handler)?;
        let (input, jobs) = mpsc::channel(1);
        let (tell, settled) = mpsc::unbounded_channel();
        let done = move |outcomes: Vec<Result<Receipt<Probe>, Unsettled<Probe>>>| {
            outcomes.into_iter().filter_map(Result::ok).for_each(|receipt| {
                // Nobody listens any more once the measurement is over.
                let _ = tell.send(Instant::now());
                drop(receipt.redeem());
            });
        };
        tokio::spawn(async move { runner.consume(jobs, Mode::Each, done).await });
        Ok(Self { scope: scope.clone(), input, settled })
    }

    async fn one(&mut self, id: String, times: &mut Times) -> anyhow::Result<()> {
        let ran = Arc::new(OnceLock::new());
        let job = Job::new(self.scope.key(id)?, Probe(ran.clone()));
        let given = Instant::now();
        self.input.send(vec![Ordered { lane: None, job }]).await.ok().context("the runner has ended")?;
        let settled = self.settled.recv().await.context("the runner has ended")?;
        let ran = *ran.get().context("settled without a run")?;
        times.add(ran - given, settled - ran);
        Ok(())
    }
}
