//! A server for records in this process. Over the wire goes the number of a call; the call itself is in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use ackonce::protocol::{self, Row};
use ackonce::store::{ClaimRequest, Claimed, Settled, Settlement, State};
use ackonce::{Deduplicator, Result};
use ackonce_testkit::network::Fixture;
use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::store::{Bug, Store};

#[derive(Clone)]
pub(crate) enum Call {
    Claim(ClaimRequest),
    Settle(Settlement),
}

#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Claimed(Claimed),
    Settled(Settled),
}

/// Calls that were made, with their answers, and the records.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) calls: Vec<(Call, Option<Answer>)>,
    rows: HashMap<[u8; 32], Row>,
}

impl Table {
    fn apply(&mut self, n: usize, bug: Bug) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = u64::try_from(since.as_micros()).unwrap();
        let (call, answer) = &mut self.calls[n];
        let key = match call {
            Call::Claim(request) => *request.key.digest(),
            Call::Settle(settlement) => *settlement.key.digest(),
        };
        let mut row = self.rows.get(&key);
        let (told, change) = match call {
            Call::Claim(request) => {
                if bug == Bug::LastClaimWins && row.is_some_and(|row| row.state == State::Claimed) {
                    row = None;
                }
                let (told, change) = protocol::claim(row, request, now);
                (Answer::Claimed(told), change)
            }
            Call::Settle(settlement) => {
                if bug == Bug::AnyoneCompletes
                    && let Some(row) = row
                {
                    (settlement.token, settlement.fence) = (row.token, row.fence);
                }
                let (told, change) = protocol::settle(row, settlement, now);
                (Answer::Settled(told), change)
            }
        };
        *answer = Some(told);
        self.rows.extend(change.map(|row| (key, row)));
    }
}

/// The server, and a way to it.
pub(crate) struct Server {
    address: String,
    table: Arc<Mutex<Table>>,
    bug: Bug,
}

impl Server {
    pub(crate) async fn start(bug: Bug) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let table = Arc::<Mutex<Table>>::default();
        let shared = table.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client, shared.clone(), bug));
            }
        });
        Self { address, table, bug }
    }
}

/// Answers each line once it is applied; the first is a greeting.
async fn serve(mut client: TcpStream, table: Arc<Mutex<Table>>, bug: Bug) {
    let (from, mut to) = client.split();
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(n) = line.parse() {
            table.lock().unwrap().apply(n, bug);
        }
        if to.write_all(format!("{line} is answered\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

#[async_trait]
impl Fixture for Server {
    fn server(&self) -> String {
        self.address.clone()
    }

    async fn open(&self, address: &str) -> Result<Arc<dyn Deduplicator>> {
        Ok(Arc::new(Store::connect(address, self.table.clone(), self.bug).await?))
    }
}
