//! TLS with a certificate of the test's own making. What ends it stands in front of the broker, as a load balancer may.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ackonce_tests::amqp::{Kind, Rabbit};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;

use crate::inside::{Inside, consumer, ids, memory, told};

/// Speaks TLS, and passes on what is said to the broker.
async fn front(rabbit: &Rabbit, certified: &rcgen::CertifiedKey<rcgen::KeyPair>) -> u16 {
    let key = certified.signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (broker, acceptor) = (rabbit.address(), TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (broker, acceptor) = (broker.clone(), acceptor.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate hangs up.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut broker = TcpStream::connect(broker).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut broker).await;
            });
        }
    });
    port
}

/// This test again, in a process whose system trusts the certificates of that file.
fn run_trusting(file: &Path, url: &str) {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "tls::amqps_is_tls_with_a_verified_certificate", "--nocapture"]);
    assert!(again.env("SSL_CERT_FILE", file).env("TLS_TEST_URL", url).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn amqps_is_tls_with_a_verified_certificate() {
    let Some(rabbit) = Rabbit::real() else { return };
    if let Ok(url) = std::env::var("TLS_TEST_URL") {
        return consumes(&rabbit, &url).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, certified.cert.pem()).unwrap();
    let port = front(&rabbit, &certified).await;
    let url = rabbit.url().replacen("amqp://", "amqps://", 1);
    let url = url.replacen(&rabbit.address(), &format!("localhost:{port}"), 1);
    tokio::task::spawn_blocking(move || run_trusting(&file, &url)).await.unwrap();
}

async fn consumes(rabbit: &Rabbit, url: &str) {
    let queue = rabbit.queue("encrypted", Kind::Classic).await;
    rabbit.connect().await.publish_all(&queue, told(&ids(0..10), &[])).await;
    let inside = Inside::run(consumer(url, &queue, memory()));
    inside.until_acked(10).await;
    assert_eq!(inside.stop().await.unwrap().run, 10);

    // The same server under a name that its certificate does not have.
    let other = Rabbit::at(url.replacen("localhost", "127.0.0.1", 1));
    let Err(error) = other.try_connect().await else { panic!("its name is not in the certificate") };
    assert!(ackonce::chain(&error).to_string().contains("certificate"), "{error}");
}
