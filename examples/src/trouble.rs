//! Troubles that an example's handler can play instead of its effect.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Context, Failure};
use clap::ValueEnum;

use crate::Flags;

/// `--on ID=ANSWER`: the handler's answer to one message, each time it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct On {
    id: String,
    answer: Answer,
}

/// An answer other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Answer {
    /// `Failure::Infrastructure`
    Infrastructure,
    /// `Failure::Retry`
    Retry,
    /// `Failure::Permanent`
    Permanent,
    /// `Failure::Unknown`
    Unknown,
    /// The handler panics
    Panic,
    /// The process aborts
    Abort,
    /// The handler never answers
    Hang,
}

impl FromStr for On {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The last `=`, for an ID may have one.
        let (id, answer) = text.rsplit_once('=').ok_or("it is ID=ANSWER")?;
        let answer = Answer::from_str(answer, false).map_err(|_| {
            let all = Answer::value_variants().iter().filter_map(|a| a.to_possible_value());
            let all: Vec<_> = all.map(|value| value.get_name().to_owned()).collect();
            format!("an answer is one of {}", all.join(", "))
        })?;
        if id.is_empty() {
            return Err("a message ID is not empty".to_owned());
        }
        Ok(Self { id: id.to_owned(), answer })
    }
}

/// The troubles that the flags ask of the handler.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    delay: Duration,
    fail_first: u32,
    panic_first: u32,
    on: Arc<HashMap<Vec<u8>, Answer>>,
}

impl Trouble {
    pub(crate) fn of(flags: &Flags) -> Self {
        let on = flags.on.iter().map(|on| (on.id.clone().into_bytes(), on.answer));
        Self {
            delay: Duration::from_millis(flags.delay_ms),
            fail_first: flags.fail_first,
            panic_first: flags.panic_first,
            on: Arc::new(on.collect()),
        }
    }

    /// The part that takes time: before a transaction begins, since SQLite has one writer that all wait for.
    pub(crate) async fn wait(&self, cx: &Context) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if self.on(cx) == Some(Answer::Hang) {
            std::future::pending::<()>().await;
        }
    }

    /// The part that ends the attempt: where the effect would be, and so inside of its transaction.
    ///
    /// # Errors
    /// The failure that was asked for.
    #[allow(clippy::panic, reason = "asked for, to show what a panic does")]
    pub(crate) fn strike(&self, cx: &Context) -> Result<(), Failure> {
        let attempt = cx.attempt();
        if attempt <= self.panic_first {
            panic!("--panic-first {}: attempt {attempt} panics", self.panic_first);
        }
        if attempt <= self.fail_first {
            return Err(Failure::Retry(
                format!("--fail-first {}: attempt {attempt} fails", self.fail_first).into(),
            ));
        }
        let Some(answer) = self.on(cx) else { return Ok(()) };
        let why = format!("--on asks for {answer:?} at attempt {attempt}");
        match answer {
            Answer::Infrastructure => Err(Failure::infrastructure(why)),
            Answer::Retry => Err(Failure::Retry(why.into())),
            Answer::Permanent => Err(Failure::permanent(why)),
            Answer::Unknown => Err(Failure::unknown(why)),
            Answer::Panic => panic!("{why}"),
            Answer::Abort => std::process::abort(),
            Answer::Hang => Ok(()),
        }
    }

    fn on(&self, cx: &Context) -> Option<Answer> {
        self.on.get(&cx.key().id()[..]).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_have_an_equals_sign_and_every_answer_has_its_word() {
        for word in ["infrastructure", "retry", "permanent", "unknown", "panic", "abort", "hang"] {
            let on: On = format!("a=b={word}").parse().unwrap();
            assert_eq!((on.id.as_str(), format!("{:?}", on.answer).to_lowercase()), ("a=b", word.to_owned()));
        }
    }

    #[test]
    fn wrong_words_are_refused() {
        for text in ["order-1", "order-1=", "order-1=fail", "=hang"] {
            text.parse::<On>().unwrap_err();
        }
    }
}
