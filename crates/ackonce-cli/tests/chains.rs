//! Every cause of an error is told once, whoever prints the chain.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::error::Error;

use ackonce_cli::stores::StoreUrl;

/// The texts of an error and its causes; no text is in one before it.
fn told_once(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        assert!(told.iter().all(|before| !before.contains(&text)), "{text:?} is told again after {told:?}");
        told.push(text);
        cause = error.source();
    }
    told
}

#[tokio::test]
async fn the_chain_of_a_store_that_cannot_be_opened_tells_each_cause_once() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = format!("sqlite:{}", directory.path().join("not/there.db").display());
    let no_file = format!("sqlite:{}", directory.path().display());
    // Nobody listens on port 1.
    let urls = [nowhere.as_str(), &no_file, "redis://127.0.0.1:1/", "postgres://user@127.0.0.1:1/database"];
    for url in urls {
        let error = url.parse::<StoreUrl>().unwrap().open().await.map(drop).unwrap_err();
        let error: Box<dyn Error + Send + Sync> = error.into();
        let told = told_once(&*error);
        assert!(!told[0].is_empty(), "{url}: the outermost text");
        let chain = ackonce::chain(&*error).to_string();
        assert_eq!(chain, told.join(": "), "{url}: the chain in one line");
        println!("{chain}");
    }
}
