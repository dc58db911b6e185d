//! Everything that passes: bodies, versions, headers, upgrades, and bounds on slow clients.

use std::io::{Read, Write};
use std::net::TcpStream;

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::service::Service;
use crate::started::{Proxy, answer};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_streams_both_ways_chunk_by_chunk() {
    let service = Service::start().await;
    let proxy = Proxy::start(&service.url(), &[]);
    let (chunks, sent) = mpsc::channel::<Result<&'static str, std::io::Error>>(1);
    let body = futures_util::stream::unfold(sent, |mut sent| async { Some((sent.recv().await?, sent)) });
    let request = reqwest::Client::new().put(format!("{}/echo", proxy.url));
    chunks.send(Ok("first ")).await.unwrap();
    let mut back = request.body(reqwest::Body::wrap_stream(body)).send().await.unwrap().bytes_stream();
    assert_eq!(back.next().await.unwrap().unwrap(), "first ");
    // The first one is back before the second is sent.
    chunks.send(Ok("second")).await.unwrap();
    assert_eq!(back.next().await.unwrap().unwrap(), "second");
    drop(chunks);
    assert!(back.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_passes_without_a_key_and_is_a_413_with_one() {
    let service = Service::start().await;
    let proxy = Proxy::start(&service.url(), &["--max-body-bytes", "1000", "--required", "false"]);
    let (client, url) = (reqwest::Client::new(), format!("{}/count", proxy.url));
    let len = 20 << 20;
    for request in [client.put(&url), client.post(&url)] {
        let answer = request.body(vec![7; len]).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), len.to_string());
    }
    let refused = client.post(&url).header("idempotency-key", "k").body(vec![7; 1001]).send().await.unwrap();
    assert_eq!(refused.status(), 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_without_tls_is_served_and_the_upstream_sees_the_same_headers() {
    let service = Service::start().await;
    let proxy = Proxy::start(&service.url(), &[]);
    let h2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let first = answer(h2.post(format!("{}/number", proxy.url)).header("idempotency-key", "k")).await;
    assert_eq!(first, (201, "1".to_owned(), false));
    assert_eq!(proxy.post("/number", "k").await, (201, "1".to_owned(), true), "the same key over HTTP/1.1");
    for client in [reqwest::Client::new(), h2] {
        let request = client.get(format!("{}/headers", proxy.url)).header("x-forwarded-for", "10.9.9.9");
        let seen = request.send().await.unwrap().text().await.unwrap();
        let expected = [
            "accept: */*".to_owned(),
            format!("host: {}", proxy.address()),
            "x-forwarded-for: 127.0.0.1".to_owned(),
            format!("x-forwarded-host: {}", proxy.address()),
            "x-forwarded-proto: http".to_owned(),
        ];
        assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_of_http_2_and_a_path_in_front() {
    let service = Service::start().await;
    let proxy = Proxy::start(&format!("h2c://{}/number", service.address), &[]);
    // /number/ is another route.
    assert_eq!(proxy.post("/", "k").await.0, 404);
    let proxy = Proxy::start(&format!("h2c://{}", service.address), &[]);
    assert_eq!(proxy.post("/number", "k").await, (201, "1".to_owned(), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_passes_bytes_both_ways() {
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut connection, _) = upstream.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let len = connection.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..len]).to_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
        connection.write_all(answer.as_bytes()).await.unwrap();
        let (mut from, mut to) = connection.split();
        tokio::io::copy(&mut from, &mut to).await.unwrap();
    });
    let proxy = Proxy::start(&url, &[]);
    let address = proxy.address().to_owned();
    tokio::task::spawn_blocking(move || {
        let mut client = TcpStream::connect(address).unwrap();
        client
            .write_all(b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: websocket"), "{head}");
        for text in [&b"ping"[..], b"\x00\xffpong"] {
            client.write_all(text).unwrap();
            let mut back = vec![0; text.len()];
            client.read_exact(&mut back).unwrap();
            assert_eq!(back, text);
        }
    })
    .await
    .unwrap();
}

/// The proxy ends a connection that sends half of a head, and one that sends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_finish_its_head_is_let_go() {
    let service = Service::start().await;
    let proxy = Proxy::start(&service.url(), &["--header-timeout", "300ms"]);
    for sent in ["GET / HTTP/1.1\r\nhost: a\r\nx-slow: ", "", "PRI * HTTP/2"] {
        let address = proxy.address().to_owned();
        let ended = tokio::task::spawn_blocking(move || {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(sent.as_bytes()).unwrap();
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest);
        });
        tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.expect(sent).unwrap();
    }
    assert_eq!(proxy.post("/number", "k").await.0, 201, "others are served");
}

/// Frames of HTTP/2 by hand: a client that pings, and asks for nothing more.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `GET http://a/`, whole.
const GET: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0ackonce!";

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_is_ended() {
    let service = Service::start().await;
    let times = [
        "--idle-timeout",
        "1s",
        "--upstream-timeout",
        "900ms",
        "--connect-timeout",
        "500ms",
        "--header-timeout",
        "1s",
    ];
    let proxy = Proxy::start(&service.url(), &times);
    for asked in [&[][..], GET] {
        let address = proxy.address().to_owned();
        let ended = tokio::task::spawn_blocking(move || {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
            client.write_all(&[PREFACE, asked].concat()).unwrap();
            let (mut frames, mut piece) = (Vec::new(), [0; 1024]);
            // No end of a loop but the connection's: the test has one.
            while client.write_all(PING).is_ok() {
                match client.read(&mut piece) {
                    Ok(0) => break,
                    Ok(len) => frames.extend_from_slice(&piece[..len]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            frames
        });
        let frames = tokio::time::timeout(std::time::Duration::from_secs(60), ended).await;
        let frames = frames.expect("it pings for ever").unwrap();
        // HEADERS of the first stream, whatever their flags.
        let answered = frames.windows(6).any(|frame| frame[0] == 1 && frame[2..] == [0, 0, 0, 1]);
        assert_eq!(answered, !asked.is_empty());
    }
    assert_eq!(proxy.post("/number", "k").await.0, 201, "others are served");
}
