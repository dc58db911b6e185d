//! TLS with a certificate of the test's own making.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use ackonce::ErrorKind;
use ackonce::store::DeduplicatorExt;
use common::own::Own;
use common::request;

/// Gives the server that certificate and its key, which it insists on owning.
async fn secure(own: &Own, certified: &rcgen::CertifiedKey<rcgen::KeyPair>) {
    let owner = std::fs::metadata(&own.data).unwrap();
    for (name, text) in
        [("server.crt", certified.cert.pem()), ("server.key", certified.signing_key.serialize_pem())]
    {
        let file = own.data.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    own.set("ssl", "on").await;
}

/// This test again, in a process whose system trusts the certificates of that file.
fn run_trusting(file: &Path, url: &str) {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "sslmode_require_is_tls_with_a_verified_certificate", "--nocapture"]);
    assert!(again.env("SSL_CERT_FILE", file).env("TLS_TEST_URL", url).status().unwrap().success());
}

#[tokio::test]
async fn sslmode_require_is_tls_with_a_verified_certificate() {
    if let Ok(url) = std::env::var("TLS_TEST_URL") {
        return connects(&url).await;
    }
    let Some(own) = Own::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, certified.cert.pem()).unwrap();
    secure(&own, &certified).await;
    run_trusting(&file, &own.url);

    // Nobody installed cryptography in this process, and nothing is connected without.
    let plain = own.place("tls").config();
    let asked = ackonce_postgres::PostgresConfig::new(&format!("{}?sslmode=require", own.url)).unwrap();
    let error = asked.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(ackonce::chain(&error).to_string().contains("install_default"), "{error}");
    plain.connect().await.unwrap();
}

async fn connects(url: &str) {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let place =
        |url: String| common::Place { url, schema: ackonce_postgres::SchemaName::new("tls").unwrap() };
    let by_name = url.replacen("127.0.0.1", "localhost", 1) + "?sslmode=require&application_name=encrypted";
    let store = place(by_name.clone()).store().await;
    common::acquire(&store, request("a")).await;
    assert!(matches!(store.claim_one(request("a")).await, Ok(ackonce::store::Claimed::Busy { .. })));
    let encrypted =
        "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'encrypted'";
    let rows = common::connect(url).await.query(encrypted, &[]).await.unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.get::<_, bool>(0)));

    // The same server under a name that its certificate does not have.
    let error = place(format!("{url}?sslmode=require")).config().connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(ackonce::chain(&error).to_string().contains("certificate"), "{error}");
}
