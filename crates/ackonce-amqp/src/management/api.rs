//! RabbitMQ's management API, asked in HTTP by hand.

use std::time::Duration;

use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The limits for one answer of the API: time, and bytes.
const ASK: Duration = Duration::from_secs(10);
const LONGEST: u64 = 4 << 20;

/// The API at `address` (`host:port`), as the user of `uri`.
#[derive(Debug)]
pub(crate) struct Api<'a> {
    pub(crate) address: &'a str,
    pub(crate) uri: &'a AMQPUri,
}

impl Api<'_> {
    /// Checks that an exchange leads to a queue under a routing key, or under that of some message which that queue
    /// could have. Bindings between exchanges are not followed.
    ///
    /// # Errors
    /// It does not answer, or says no.
    pub(crate) async fn leads_to(
        &self,
        exchange: &ShortString,
        key: Option<&ShortString>,
        queue: &str,
    ) -> Result<bool, String> {
        let all = format!("/api/exchanges/{}", encoded(&self.uri.vhost));
        let path = format!("{all}/{}", encoded(exchange.as_str()));
        // From the list: of one exchange the API tells nothing where statistics are off.
        let kinds = self.get(&format!("{all}?columns=name,type")).await?;
        let mut kinds = kinds.as_array().into_iter().flatten();
        let kind = kinds.find(|one| one["name"].as_str() == Some(exchange.as_str()));
        let kind = kind.and_then(|one| one["type"].as_str()).unwrap_or_default().to_owned();
        let bindings = self.get(&format!("{path}/bindings/source")).await?;
        let to_queue = |binding: &&Value| {
            binding["destination_type"] == "queue" && binding["destination"].as_str() == Some(queue)
        };
        let mut bindings = bindings.as_array().into_iter().flatten().filter(to_queue);
        Ok(bindings.any(|binding| {
            let pattern = binding["routing_key"].as_str().unwrap_or_default();
            match (kind.as_str(), key) {
                ("direct", Some(key)) => pattern == key.as_str(),
                ("topic", Some(key)) => matches(pattern, key.as_str()),
                // By headers it cannot be told.
                ("headers", _) => false,
                _ => true,
            }
        }))
    }

    /// The number of an exchange's bindings; `None` if there is no such exchange.
    ///
    /// # Errors
    /// It does not answer, or says no.
    pub(crate) async fn bindings(&self, exchange: &str) -> Result<Option<usize>, String> {
        let all = format!("/api/exchanges/{}", encoded(&self.uri.vhost));
        let known = self.get(&format!("{all}?columns=name")).await?;
        let mut known = known.as_array().into_iter().flatten();
        if !known.any(|one| one["name"].as_str() == Some(exchange)) {
            return Ok(None);
        }
        let bindings = self.get(&format!("{all}/{}/bindings/source", encoded(exchange))).await?;
        Ok(Some(bindings.as_array().map_or(0, Vec::len)))
    }

    /// One question, in the oldest HTTP, whose answers are not cut into chunks.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, String> {
        let (address, user) = (self.address, &self.uri.authority.userinfo);
        let login = base64(format!("{}:{}", user.username, user.password).as_bytes());
        let request =
            format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Basic {login}\r\n\r\n");
        let asking = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(LONGEST).read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = match tokio::time::timeout(ASK, asking).await {
            Ok(answer) => answer.map_err(|e| format!("{address}: {e}"))?,
            Err(_) => return Err(format!("{address} did not answer within {ASK:?}")),
        };
        let text = String::from_utf8_lossy(&answer);
        let (head, body) =
            text.split_once("\r\n\r\n").ok_or_else(|| format!("{address} does not speak HTTP"))?;
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            return Err(format!("{address}{path}: {status}"));
        }
        serde_json::from_str(body).map_err(|e| format!("{address}{path}: {e}"))
    }
}

/// True if a topic exchange's binding takes a routing key: `*` is one word, `#` any number.
fn matches(pattern: &str, key: &str) -> bool {
    fn words(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => {
                words(rest, key) || key.split_first().is_some_and(|(_, key)| words(pattern, key))
            }
            (Some((word, rest)), Some((other, others))) if *word == "*" || word == other => {
                words(rest, others)
            }
            _ => false,
        }
    }
    let split = |text: &str| -> Vec<String> { text.split('.').map(str::to_owned).collect() };
    let (pattern, key) = (split(pattern), split(key));
    let (pattern, key): (Vec<&str>, Vec<&str>) =
        (pattern.iter().map(String::as_str).collect(), key.iter().map(String::as_str).collect());
    words(&pattern, &key)
}

/// RFC 3986: everything but unreserved characters is escaped.
pub(crate) fn encoded(text: &str) -> String {
    let mut path = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let group =
            three.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for n in 0..4 {
            match n <= three.len() {
                true => text.push(LETTERS[(group >> (18 - 6 * n) & 63) as usize].into()),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_binding_takes_what_the_broker_says_it_takes() {
        for (pattern, key, takes) in [
            ("order.*", "order.new", true),
            ("order.*", "order.new.eu", false),
            ("#", "anything.at.all", true),
            ("order.#", "order", true),
            ("#.eu", "order.new.eu", true),
            ("#.eu", "order.new.us", false),
            ("*", "", true),
            ("a", "b", false),
        ] {
            assert_eq!(matches(pattern, key), takes, "{pattern} {key}");
        }
    }

    #[test]
    fn names_and_passwords_are_encoded() {
        assert_eq!(encoded("/a b%ä-_.~"), "%2Fa%20b%25%C3%A4-_.~");
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }
}
