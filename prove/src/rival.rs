//! Other people's libraries under the same faults: workers that are no program of ours.

use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::plan::{Place, Plan};

/// The workers of another library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rival {
    pub(crate) name: String,
    /// For the shell, which becomes it: the process under test is its own.
    command: String,
}

impl Rival {
    /// `NAME=COMMAND`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, command)) if !name.is_empty() && !command.trim().is_empty() => {
                Ok(Self { name: name.to_owned(), command: command.to_owned() })
            }
            _ => Err("NAME=COMMAND, such as set-nx='python3 rival.py'".to_owned()),
        }
    }

    /// One worker. It works until SIGTERM, journals to `starts.jsonl` and `effects.jsonl` in `PROVE_DIR`, and makes the
    /// troubles of its messages.
    pub(crate) fn worker(&self, plan: &Plan) -> Command {
        let (source, queue) = match &plan.place {
            Place::Feed => (plan.feed().display().to_string(), ""),
            Place::Kafka { brokers, topic } => (brokers.clone(), topic.as_str()),
            Place::Rabbitmq { url, queue } => (url.clone(), queue.as_str()),
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec {}", self.command)])
            .env("PROVE_DIR", &plan.dir)
            .env("PROVE_SOURCE", source)
            .env("PROVE_QUEUE", queue)
            .env("PROVE_STORE", plan.store.split('?').next().unwrap_or_default())
            .env("PROVE_SCHEMA", &plan.schema)
            .env("PROVE_LEASE_MS", plan.lease_ms.to_string());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_command_are_needed() {
        let rival = Rival { name: "set-nx".to_owned(), command: "python3 rival.py --ttl=60".to_owned() };
        assert_eq!(Rival::parse("set-nx=python3 rival.py --ttl=60"), Ok(rival));
        for text in ["python3 rival.py", "=python3", "set-nx= "] {
            assert!(Rival::parse(text).is_err(), "{text}");
        }
    }
}
