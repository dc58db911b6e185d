//! The source of states: the console of a running program, or a store.

use std::time::Duration;

use ackonce_console::Snapshots;
use ackonce_console::snapshot::Snapshot;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::events::Events;
use crate::refusal::Refusal;

/// The longest wait for a connection and for the head of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest silence of a console, which speaks once a second.
const SILENCE: Duration = Duration::from_secs(20);
/// The wait before a console is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// A state, or the reason why there is none now.
pub(super) type Looked = Result<Box<Snapshot>, String>;

pub(super) enum Source {
    Store(Box<Snapshots>),
    Admin { place: AdminPlace, stream: Option<Stream> },
}

/// The console of a program.
#[derive(Debug, Clone)]
pub(super) struct AdminPlace {
    authority: String,
    path: String,
    token: Option<ackonce_console::AccessToken>,
}

pub(super) struct Stream {
    body: Incoming,
    events: Events,
    connection: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl AdminPlace {
    /// `9090`, `127.0.0.1:9090`, `http://ops:9090/console/`.
    pub(super) fn parse(text: &str, token: Option<ackonce_console::AccessToken>) -> Result<Self, String> {
        const FORMS: &str = "write PORT, HOST:PORT or http://HOST:PORT/PATH/";
        let text = match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
            Ok(port) => format!("127.0.0.1:{port}"),
            Err(_) => text.to_owned(),
        };
        let text = text.strip_prefix("http://").unwrap_or(&text);
        if text.contains("://") {
            return Err(format!("only http:// is spoken; {FORMS}"));
        }
        let (authority, path) = text.split_once('/').unwrap_or((text, ""));
        let uri: Uri = format!("http://{authority}/").parse().map_err(|_| FORMS.to_owned())?;
        if uri.port_u16().is_none() || uri.host().is_none_or(str::is_empty) || authority.contains('@') {
            return Err(FORMS.to_owned());
        }
        let path = path.trim_end_matches('/');
        let path = if path.is_empty() { "/".to_owned() } else { format!("/{path}/") };
        Ok(Self { authority: authority.to_owned(), path, token })
    }

    /// Opens the stream.
    pub(super) async fn connect(&self) -> Result<Stream, Refusal> {
        let away = |why: String| {
            Refusal::environment(format!(
                "--admin: {} does not answer ({why}); start the program with --admin, or mend the address",
                self.authority
            ))
        };
        let connecting = async {
            let connection = TcpStream::connect(&self.authority).await.map_err(|e| e.to_string())?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
                .await
                .map_err(|e| e.to_string())?;
            let connection = tokio::spawn(async move {
                // Its end is the end of the body.
                let _ = connection.await;
            });
            let mut request =
                Request::get(format!("{}api/live", self.path)).header(HOST, self.authority.as_str());
            if let Some(token) = &self.token {
                request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
            }
            let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
            let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
            Ok::<_, String>((answer, connection))
        };
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        let (answer, connection) =
            connected.unwrap_or_else(|_| Err("no answer within 10 s".to_owned())).map_err(away)?;
        let status = answer.status();
        let stream = Stream { body: answer.into_body(), events: Events::default(), connection };
        match status {
            StatusCode::OK => Ok(stream),
            StatusCode::UNAUTHORIZED => Err(Refusal::usage(format!(
                "--admin: the console at {} asks for its token; name its place with --console-token env:NAME or file:PATH",
                self.authority
            ))),
            StatusCode::NOT_FOUND => Err(Refusal::environment(format!(
                "--admin: there is no console at {} ({}); the program may still wait for its store, or serve it with \
                 --console-token only",
                self.authority, self.path
            ))),
            status => Err(Refusal::environment(format!("--admin: {} answers {status}", self.authority))),
        }
    }
}

impl Source {
    /// The next state. After a console that went away each further call tries again. Losing a call loses no state.
    pub(super) async fn next(&mut self) -> Option<Looked> {
        match self {
            Self::Store(snapshots) => snapshots.next().await.map(|snapshot| Ok(Box::new(snapshot))),
            Self::Admin { place, stream } => {
                if stream.is_none() {
                    match place.connect().await {
                        Ok(opened) => *stream = Some(opened),
                        Err(refusal) => {
                            tokio::time::sleep(AGAIN).await;
                            return Some(Err(refusal.to_string()));
                        }
                    }
                }
                let looked = stream.as_mut()?.next().await;
                if looked.is_err() {
                    *stream = None;
                }
                Some(looked)
            }
        }
    }
}

impl Stream {
    async fn next(&mut self) -> Looked {
        loop {
            while let Some(event) = self.events.next() {
                if event.name == "state" {
                    return serde_json::from_str(&event.data).map_err(|error| {
                        format!("the console tells a state that is not understood: {error}")
                    });
                }
            }
            let piece = tokio::time::timeout(SILENCE, self.body.frame()).await;
            match piece.map_err(|_| "the console has been silent for 20 s".to_owned())? {
                Some(Ok(frame)) => {
                    if let Some(piece) = frame.data_ref() {
                        self.events.feed(piece)?;
                    }
                }
                // A stream ends after some minutes, and the next one follows.
                Some(Err(_)) | None => return Err("the console has ended the stream".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_console_reads_as_it_is_written() {
        for (text, authority, path) in [
            ("9090", "127.0.0.1:9090", "/"),
            (":9090", "127.0.0.1:9090", "/"),
            ("ops:9090", "ops:9090", "/"),
            ("http://ops:9090", "ops:9090", "/"),
            ("http://ops:9090/a/b", "ops:9090", "/a/b/"),
            ("http://[::1]:9090/a/", "[::1]:9090", "/a/"),
        ] {
            let place = AdminPlace::parse(text, None).unwrap();
            assert_eq!((place.authority.as_str(), place.path.as_str()), (authority, path), "{text}");
        }
        for wrong in ["https://ops:9090", "ops", "", "http://u:p@ops:9090", "http://:1", "a b:1", "99999"] {
            assert!(AdminPlace::parse(wrong, None).is_err(), "{wrong}");
        }
    }
}
