//! The store under test, and its planted bugs.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, Description, Record, Repeat, Settled, Settlement, State, Token};
use ackonce::{Deduplicator, Error, ErrorKind, Result};
use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::{Answer, Call, Table};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    ErrorIsDone,
    LostIsSafe,
    LostIsNever,
    RepeatsAsAnother,
    ErrorIsConfirmed,
    CutIsConfig,
    HalfIsBusy,
    SilenceIsDone,
    RefusedIsDone,
    LastClaimWins,
    AnyoneCompletes,
}

type Connection = BufReader<TcpStream>;

pub(crate) struct Store {
    address: String,
    table: Arc<Mutex<Table>>,
    bug: Bug,
    connection: tokio::sync::Mutex<Option<Connection>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store")
    }
}

/// The fate of a call that was not answered.
enum Trouble {
    NotConnected,
    Broken,
    Half,
    Silent,
}

impl Store {
    pub(crate) async fn connect(address: &str, table: Arc<Mutex<Table>>, bug: Bug) -> Result<Self> {
        let store =
            Self { address: address.to_owned(), table, bug, connection: tokio::sync::Mutex::default() };
        let opened = store.open().await.map_err(|trouble| store.error(trouble))?;
        *store.connection.lock().await = Some(opened);
        Ok(store)
    }

    async fn open(&self) -> std::result::Result<Connection, Trouble> {
        let opened = async {
            let mut connection = BufReader::new(TcpStream::connect(&self.address).await?);
            ask(&mut connection, "hello").await.map(|_| connection)
        };
        match timeout(Duration::from_millis(500), opened).await {
            Ok(Ok(connection)) => Ok(connection),
            _ => Err(Trouble::NotConnected),
        }
    }

    async fn trip(&self, call: Call) -> std::result::Result<Answer, Trouble> {
        let mut open = self.connection.lock().await;
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let n = {
            let mut table = self.table.lock().unwrap();
            table.calls.push((call, None));
            table.calls.len() - 1
        };
        match timeout(Duration::from_millis(500), ask(&mut connection, &n.to_string())).await {
            Ok(Ok(reply)) if reply.ends_with('\n') => {
                *open = Some(connection);
                Ok(self.table.lock().unwrap().calls[n].1.clone().unwrap())
            }
            Ok(Ok(half)) if !half.is_empty() => Err(Trouble::Half),
            Ok(_) => Err(Trouble::Broken),
            Err(_) => Err(Trouble::Silent),
        }
    }

    fn error(&self, trouble: Trouble) -> Error {
        let (kind, repeat) = match trouble {
            Trouble::NotConnected if self.bug == Bug::CutIsConfig => (ErrorKind::Config, Repeat::Never),
            Trouble::NotConnected => (ErrorKind::Unavailable, Repeat::Safe),
            Trouble::Silent => (ErrorKind::Timeout, Repeat::Unknown),
            _ if self.bug == Bug::LostIsSafe => (ErrorKind::Unavailable, Repeat::Safe),
            _ if self.bug == Bug::LostIsNever => (ErrorKind::Unavailable, Repeat::Never),
            Trouble::Broken | Trouble::Half => (ErrorKind::Unavailable, Repeat::Unknown),
        };
        Error::new(kind, "the wire broke").with_repeat(repeat)
    }

    async fn claim_again(&self, request: &ClaimRequest) -> Result<Claimed> {
        let call = Call::Claim(ClaimRequest { token: Token::random(), ..request.clone() });
        self.trip(call).await.map(claimed).map_err(|trouble| self.error(trouble))
    }
}

async fn ask(connection: &mut Connection, line: &str) -> io::Result<String> {
    connection.get_mut().write_all(format!("{line}\n").as_bytes()).await?;
    let mut reply = String::new();
    connection.read_line(&mut reply).await?;
    Ok(reply)
}

fn claimed(answer: Answer) -> Claimed {
    match answer {
        Answer::Claimed(claimed) => claimed,
        Answer::Settled(_) => panic!("a claim was asked"),
    }
}

fn done() -> Claimed {
    let (outcome, reason, fingerprint) = (None, None, None);
    let record = Record {
        state: State::Done,
        fence: 1,
        attempt: 1,
        fingerprint,
        outcome,
        progress: None,
        reason,
        age: Duration::ZERO,
    };
    Claimed::Done(record)
}

#[async_trait]
impl Deduplicator for Store {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let mut answers = Vec::new();
        for request in requests {
            let answer = match (self.trip(Call::Claim(request.clone())).await, self.bug) {
                (Ok(answer), _) => claimed(answer),
                (Err(Trouble::Broken), Bug::ErrorIsDone)
                | (Err(Trouble::Silent), Bug::SilenceIsDone)
                | (Err(Trouble::NotConnected), Bug::RefusedIsDone) => done(),
                (Err(Trouble::Half), Bug::HalfIsBusy) => Claimed::Busy { free_in: Duration::ZERO },
                (Err(_), Bug::RepeatsAsAnother) => self.claim_again(request).await?,
                (Err(trouble), _) => return Err(self.error(trouble)),
            };
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut answers = Vec::new();
        for settlement in settlements {
            answers.push(match (self.trip(Call::Settle(settlement.clone())).await, self.bug) {
                (Ok(Answer::Settled(settled)), _) => settled,
                (Ok(Answer::Claimed(_)), _) => panic!("a settlement was asked"),
                (Err(_), Bug::ErrorIsConfirmed) => Settled::Yes,
                (Err(trouble), _) => return Err(self.error(trouble)),
            });
        }
        Ok(answers)
    }

    fn describe(&self) -> Description {
        Description { name: "a store on a server".into(), weaknesses: Vec::new() }
    }
}
