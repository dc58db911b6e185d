//! A browser, and the questions that tests ask of its page.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ackonce_testkit::servers;
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use futures_util::FutureExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// Far beyond all that a page takes.
const LONG: Duration = Duration::from_secs(60);
pub const TAB: &str = "\u{E004}";
pub const ENTER: &str = "\u{E007}";
pub const ESCAPE: &str = "\u{E00C}";
pub const LEFT: &str = "\u{E012}";
pub const SPACE: &str = " ";

pub struct Browser(pub Client);

/// Runs a test with a browser of its own, whose window has that width; reports it as not tested without one.
pub async fn with_browser<F: Future<Output = ()>>(width: u32, test: impl FnOnce(Browser) -> F) {
    let Some(driver) = servers::address("ACKONCE_TEST_CHROMEDRIVER") else { return };
    let profile = tempfile::tempdir().unwrap();
    let capabilities = json!({ "goog:chromeOptions": { "args": [
        "--headless=new",
        // Root cannot have the sandbox, and the only page is ours.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-proxy-server",
        // Offline: no other host has an address.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
        format!("--user-data-dir={}", profile.path().display()),
    ] } });
    let Value::Object(capabilities) = capabilities else { unreachable!() };
    let client = ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&driver).await;
    let client = client.expect("a session of chromedriver");
    client.set_window_size(width, 900).await.unwrap();
    let ended = AssertUnwindSafe(test(Browser(client.clone()))).catch_unwind().await;
    client.close().await.unwrap();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

impl Browser {
    pub async fn open(&self, url: &str) {
        self.0.goto(url).await.unwrap();
    }

    pub async fn find(&self, css: &str) -> Element {
        self.0
            .wait()
            .at_most(LONG)
            .for_element(Locator::Css(css))
            .await
            .unwrap_or_else(|e| panic!("{css}: {e}"))
    }

    /// The text of an element, or nothing while there is none.
    pub async fn text(&self, css: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.innerText ?? ''";
        self.run(script, vec![css.into()]).await.as_str().unwrap().to_owned()
    }

    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.0.execute(script, arguments).await.unwrap()
    }

    pub async fn is(&self, script: &str) -> bool {
        self.run(script, vec![]).await.as_bool().unwrap()
    }

    /// Waits until the script is true.
    pub async fn until(&self, script: &str) {
        let end = Instant::now() + LONG;
        while !self.is(script).await {
            assert!(Instant::now() < end, "never true: {script}\n{}", self.text("body").await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the element's text has this part.
    pub async fn says(&self, css: &str, part: &str) {
        let end = Instant::now() + LONG;
        loop {
            let text = self.text(css).await;
            if text.contains(part) {
                return;
            }
            assert!(Instant::now() < end, "{css} never says {part:?}: {text}\n{}", self.text("body").await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Presses keys where the focus is.
    pub async fn press(&self, keys: &str) {
        self.0.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// Presses the tabulator until the element that the selector finds has the focus.
    pub async fn tab_to(&self, css: &str) {
        for _ in 0..60 {
            if self.has_focus(css).await {
                return;
            }
            self.press(TAB).await;
        }
        panic!("no way to {css} by keyboard");
    }

    pub async fn has_focus(&self, css: &str) -> bool {
        let script = "return document.activeElement?.matches(arguments[0]) ?? false";
        self.run(script, vec![css.into()]).await.as_bool().unwrap()
    }

    /// The page fits into the width of its window.
    pub async fn fits(&self, width: u32) {
        assert_eq!(self.run("return innerWidth", vec![]).await, width);
        let wide = "return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 \
            && e.checkVisibility() && !e.closest('thead')).map(e => e.outerHTML.slice(0, 90))";
        let scrolls = self.run("return document.documentElement.scrollWidth", vec![]).await.as_u64().unwrap();
        let wide = self.run(wide, vec![]).await;
        assert!(scrolls <= u64::from(width), "{scrolls} px wide: {wide}");
    }

    /// Keeps a picture of the page for a person, if the environment names a folder.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("ACKONCE_SCREENSHOTS").map(PathBuf::from) else { return };
        let picture = self.0.screenshot().await.unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// Chooses the colours, whichever the system prefers.
    pub async fn colours(&self, theme: &str) {
        self.run("document.documentElement.dataset.theme = arguments[0]", vec![theme.into()]).await;
    }
}
