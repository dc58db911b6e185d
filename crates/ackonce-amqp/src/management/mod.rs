//! Facts about a queue that only RabbitMQ's management API tells: its type, limits and policies. AMQP 0-9-1 has no
//! question for them.

mod api;

use std::time::Duration;

use serde_json::Value;

pub(crate) use self::api::Api;
use self::api::encoded;

/// Facts about a queue that only the management API tells.
// The answers of `/api/queues/{vhost}/{name}` and `/api/overview`.
#[derive(Debug)]
pub struct QueueFacts {
    version: String,
    queue: Value,
}

impl QueueFacts {
    /// # Errors
    /// It does not answer, or says no.
    pub(crate) async fn ask(api: &Api<'_>, queue: &str) -> Result<Self, String> {
        let path = format!("/api/queues/{}/{}", encoded(&api.uri.vhost), encoded(queue));
        let version = api.get("/api/overview").await?;
        let version = version["rabbitmq_version"].as_str().unwrap_or("unknown").to_owned();
        Ok(Self { version, queue: api.get(&path).await? })
    }

    /// True for a stream, which keeps no acknowledgements.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.kind() == "stream"
    }

    /// The number of returns after which the queue drops or dead-letters a message. `None` without a limit.
    #[must_use]
    pub fn delivery_limit(&self) -> Option<u32> {
        if self.kind() != "quorum" {
            return None;
        }
        match self.setting("delivery-limit").and_then(Value::as_i64) {
            Some(limit) => u32::try_from(limit).ok(), // -1 is none
            None if self.major() >= 4 => Some(20),
            None => None,
        }
    }

    /// The consumer time-out, where the queue has one of its own.
    #[must_use]
    pub fn consumer_timeout(&self) -> Option<Duration> {
        self.setting("consumer-timeout").and_then(Value::as_u64).map(Duration::from_millis)
    }

    /// The queue's settings under which the broker loses messages, a line each.
    pub(crate) fn weaknesses(&self) -> Vec<String> {
        let mut all = Vec::new();
        let buried = self.setting("dead-letter-exchange").is_some();
        if let Some(limit) = self.delivery_limit()
            && !buried
        {
            all.push(format!(
                "a quorum queue with a delivery limit of {limit} and no dead-letter exchange: a message that comes \
                 back more often, by crashes or lost connections, is dropped"
            ));
        }
        let once = self.setting("dead-letter-strategy").and_then(Value::as_str) != Some("at-least-once");
        if buried && self.kind() == "quorum" && once {
            all.push(
                "its dead-letter-strategy is at-most-once: what it dead-letters may get lost".to_owned(),
            );
        }
        if let Some(ttl) = self.setting("message-ttl").filter(|_| !buried) {
            all.push(format!("messages older than {ttl} ms are dropped (message-ttl), handled or not"));
        }
        let full = ["max-length", "max-length-bytes"].into_iter().find(|name| self.setting(name).is_some());
        let dropped =
            !self.setting("overflow").and_then(Value::as_str).unwrap_or("").starts_with("reject-publish");
        if let Some(name) = full.filter(|_| dropped && !buried) {
            all.push(format!("a full queue drops its oldest messages ({name}, overflow drop-head)"));
        }
        if self.queue["durable"] == false {
            all.push("the queue is not durable: a restart of the broker empties it".to_owned());
        }
        all
    }

    /// The broker's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A truth about the queue: `durable`, `auto_delete` or `exclusive`.
    #[must_use]
    pub fn is(&self, property: &str) -> bool {
        self.queue[property] == true
    }

    /// An argument of the queue or of a policy, by its name without `x-`, as text.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<String> {
        self.setting(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// The members of a quorum queue that are away.
    #[must_use]
    pub fn members_away(&self) -> usize {
        let count = |name: &str| self.queue[name].as_array().map(Vec::len);
        count("members").zip(count("online")).map_or(0, |(members, online)| members.saturating_sub(online))
    }

    /// The queue's type: `classic`, `quorum` or `stream`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.queue["type"].as_str().unwrap_or("classic")
    }

    fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }

    /// An argument of the queue or of a policy; of two numbers the lower one holds.
    fn setting(&self, name: &str) -> Option<&Value> {
        let argument = self.queue["arguments"].get(format!("x-{name}"));
        let policy = self.queue["effective_policy_definition"].get(name);
        match (argument.and_then(Value::as_i64), policy.and_then(Value::as_i64)) {
            (Some(a), Some(p)) if p < a => policy,
            _ => argument.or(policy),
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::uri::AMQPUri;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn facts(version: &str, queue: Value) -> QueueFacts {
        QueueFacts { version: version.to_owned(), queue }
    }

    #[test]
    fn a_delivery_limit_without_a_dead_letter_exchange_is_said() {
        let queue = json!({"type": "quorum", "durable": true, "arguments": {"x-delivery-limit": 3}});
        let limited = facts("3.10.8", queue);
        assert_eq!(limited.delivery_limit(), Some(3));
        assert!(limited.weaknesses()[0].contains("limit of 3"), "{:?}", limited.weaknesses());
        let by_policy = json!({"type": "quorum", "durable": true, "arguments": {"x-delivery-limit": 30},
            "effective_policy_definition": {"delivery-limit": 5, "dead-letter-exchange": "dlx",
                "dead-letter-strategy": "at-least-once"}});
        let by_policy = facts("3.13.0", by_policy);
        assert_eq!((by_policy.delivery_limit(), by_policy.weaknesses()), (Some(5), vec![]));
    }

    #[test]
    fn what_is_the_default_depends_on_the_version() {
        let queue =
            || json!({"type": "quorum", "durable": true, "arguments": {}, "effective_policy_definition": []});
        assert_eq!(facts("3.10.8", queue()).delivery_limit(), None);
        assert_eq!(facts("4.1.4", queue()).delivery_limit(), Some(20));
        let unlimited = json!({"type": "quorum", "durable": true, "arguments": {"x-delivery-limit": -1}});
        assert_eq!(facts("4.1.4", unlimited).delivery_limit(), None);
        let classic = json!({"type": "classic", "durable": true, "arguments": {}});
        assert_eq!(
            (facts("4.1.4", classic).weaknesses(), facts("4.1.4", Value::Null).delivery_limit()),
            (vec![], None)
        );
    }

    #[test]
    fn what_drops_messages_is_said() {
        let queue = json!({"type": "classic", "durable": false,
            "arguments": {"x-message-ttl": 60000, "x-max-length": 10, "x-consumer-timeout": 60000}});
        let said = facts("3.10.8", queue);
        assert_eq!((said.weaknesses().len(), said.consumer_timeout()), (3, Some(Duration::from_secs(60))));
    }

    /// Answers each request with the next of these, and returns the requests.
    async fn serve(listener: tokio::net::TcpListener, answers: [&str; 2]) -> Vec<String> {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            asked.push(String::from_utf8(request).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    }

    #[tokio::test]
    async fn the_api_is_asked_as_the_user_of_the_url() {
        // As RabbitMQ 3.10.8 answers.
        let overview =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"rabbitmq_version\":\"3.10.8\"}";
        let queue = "HTTP/1.1 200 OK\r\nserver: Cowboy\r\n\r\n{\"arguments\":{\"x-delivery-limit\":3,\
            \"x-queue-type\":\"quorum\"},\"durable\":true,\"name\":\"q q\",\"type\":\"quorum\",\"vhost\":\"/\"}";
        let no = "HTTP/1.1 401 Unauthorized\r\n\r\n{}";
        let uri: AMQPUri = "amqp://guest:guest@localhost/%2f".parse().unwrap();
        for second in [queue, no] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let serving = tokio::spawn(serve(listener, [overview, second]));
            let api = Api { address: &address, uri: &uri };
            let answer = QueueFacts::ask(&api, "q q").await;
            let asked = serving.await.unwrap();
            assert!(asked[1].starts_with("GET /api/queues/%2F/q%20q HTTP/1.0\r\n"), "{asked:?}");
            assert!(asked[1].contains("Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n"), "{asked:?}");
            match answer {
                Ok(facts) => {
                    assert_eq!((facts.version.as_str(), facts.delivery_limit()), ("3.10.8", Some(3)))
                }
                Err(why) => assert!(why.contains("401") && second == no, "{why}"),
            }
        }
        let nobody = Api { address: "127.0.0.1:1", uri: &uri };
        assert!(QueueFacts::ask(&nobody, "q").await.unwrap_err().contains("127.0.0.1:1"));
    }
}
