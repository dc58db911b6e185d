//! Who may ask: the names of the console, its token, and pages of its own.

mod host;
mod token;

use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, Method, Uri};

pub use token::{AccessToken, AccessTokenError};

use crate::problem::Problem;
use token::Lock;

/// The header of requests that change something. A page of another origin cannot send it without asking first, and such a
/// question is not answered.
pub(crate) const CHANGES: &str = "x-ackonce-console";
/// Scripts cannot read it, and no page of another site makes the browser send it.
const COOKIE_RULES: &str = "HttpOnly; SameSite=Strict; Path=/";
/// The wait before a wrong token is answered.
const WRONG: Duration = Duration::from_millis(500);

/// The rules for requests.
pub(crate) struct Access {
    lock: Option<Lock>,
    hosts: Vec<String>,
}

impl Access {
    pub(crate) fn new(token: Option<&AccessToken>, hosts: &[String]) -> Self {
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { lock: token.map(Lock::new), hosts }
    }

    pub(crate) fn has_token(&self) -> bool {
        self.lock.is_some()
    }

    /// Refuses names that are not the console's, and pages of other origins.
    pub(crate) fn check_origin(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let authority = host::authority(headers, uri)
            .ok_or_else(|| Problem::bad("the request has no Host header, or several"))?;
        let name = host::name(&authority);
        if !host::is_loopback(name) && !self.hosts.iter().any(|host| host == name) {
            // With a token a foreign name is harmless: its pages have no cookie of this console.
            if self.lock.is_none() || !self.hosts.is_empty() {
                return Err(Problem::forbidden(
                    "the Host header is not a name of this console; open it as localhost, or name it with --console-host",
                ));
            }
        }
        // Links of other sites to the page are fine, and so is the address bar.
        let follows_link =
            method == Method::GET && headers.get("sec-fetch-mode").is_some_and(|m| m == "navigate");
        if !follows_link && !host::is_own(headers, &authority) {
            return Err(Problem::forbidden("the request comes from a page of another origin"));
        }
        Ok(())
    }

    /// True for a request with the token or a session; always without a token to ask for.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(lock) = &self.lock else { return true };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.split_once(' '));
        let token = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        if let Some((_, token)) = token {
            return lock.accepts_token(token.trim());
        }
        sessions(headers, lock.cookie_name()).any(|session| lock.accepts_session(session))
    }

    /// The cookie for a person who gave the token; waits a while before it refuses one.
    pub(crate) async fn log_in(&self, token: &str) -> Option<String> {
        let lock = self.lock.as_ref()?;
        if !lock.accepts_token(token.trim()) {
            tokio::time::sleep(WRONG).await;
            return None;
        }
        Some(format!("{}={}; {COOKIE_RULES}", lock.cookie_name(), lock.cookie()))
    }

    /// The cookie that ends a session in its browser.
    pub(crate) fn log_out(&self) -> Option<String> {
        let lock = self.lock.as_ref()?;
        Some(format!("{}=; {COOKIE_RULES}; Max-Age=0", lock.cookie_name()))
    }
}

/// The values of the session's cookie.
fn sessions<'a>(headers: &'a HeaderMap, cookie: &'a str) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(name, _)| *name == cookie).map(|(_, value)| value)
}
