//! Questions about commits and records that may wait for a broker: a thread of its own asks them, and the poll thread
//! goes on meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::reader::{Compared, Reader};
use crate::driver::{Probe, Waker, connection, is_refusal};
use crate::log::Quiet;
use crate::partition::{CommitMark, Lane, RecordDigest};
use crate::tracker::PartitionId;

/// The time limit for the group's coordinator to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Questions that wait; more are not taken, and asked again by their next turn.
const WAITING: usize = 64;

/// A partition with the records that it has now: an answer that comes after their end counts for nothing.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: PartitionId,
    incarnation: Weak<()>,
}

impl Place {
    pub(crate) fn of(lane: &Lane) -> Self {
        Self { id: lane.assignment.id.clone(), incarnation: Arc::downgrade(&lane.incarnation) }
    }

    pub(crate) fn is_of(&self, lane: &Lane) -> bool {
        std::ptr::eq(self.incarnation.as_ptr(), Arc::as_ptr(&lane.incarnation))
    }

    fn is_live(&self) -> bool {
        self.incarnation.strong_count() > 0
    }
}

#[derive(Debug)]
pub(crate) enum Question {
    /// What are the commits?
    Commits(Vec<Place>),
    /// Do the records still agree with these digests?
    Records(Vec<(Place, RecordDigest)>),
}

/// Each place of a question that is taken gets one.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The commit that there is now.
    Commit(Option<Commit>),
    /// The record agrees.
    Same(RecordDigest),
    /// Retention or compaction has removed the record.
    Gone(RecordDigest),
    /// The partition is another one; the sign of it.
    Changed(&'static str),
    /// Nothing is known: no broker answered, or the topic is unknown, as it is for a moment when it is created again.
    None,
}

/// A commit of the group.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) offset: i64,
    pub(crate) mark: Option<CommitMark>,
}

impl Commit {
    /// True if it names the topic that it is of.
    pub(crate) fn has_id(&self) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.topic.is_some())
    }
}

/// The poll thread's end.
pub(crate) struct Inquiry {
    config: ClientConfig,
    wake: Arc<Waker>,
    scope: Arc<str>,
    questions: Option<SyncSender<Question>>,
    answer: Sender<(Place, Answer)>,
    answers: Receiver<(Place, Answer)>,
}

impl Inquiry {
    /// `consumer` is the consumer's configuration. Nothing is started before the first question.
    pub(crate) fn new(consumer: &ClientConfig, wake: Arc<Waker>, scope: Arc<str>) -> Self {
        let mut config = connection(consumer);
        // The group's commits are read by its name, without joining it.
        config.set("group.id", consumer.get("group.id").unwrap_or_default());
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        let (answer, answers) = channel();
        Self { config, wake, scope, questions: None, answer, answers }
    }

    /// False if the question is not taken.
    pub(crate) fn ask(&mut self, question: Question) -> bool {
        let Some(questions) = &self.questions else { return self.start(question) };
        match questions.try_send(question) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(question)) => self.start(question),
        }
    }

    /// Asks, and starts the thread where there is none.
    fn start(&mut self, first: Question) -> bool {
        let (questions, asked) = sync_channel(WAITING);
        let worker = Worker {
            config: self.config.clone(),
            wake: self.wake.clone(),
            scope: self.scope.clone(),
            answers: self.answer.clone(),
            commits: None,
            quiet: Quiet::default(),
        };
        let thread = std::thread::Builder::new().name("ackonce-kafka-look".into());
        match thread.spawn(move || worker.run(&asked)) {
            Ok(_) => {
                let taken = questions.try_send(first).is_ok();
                self.questions = Some(questions);
                taken
            }
            Err(error) => {
                tracing::warn!(target: "ackonce", scope = &*self.scope, %error, "no thread to look for topics created again");
                false
            }
        }
    }

    pub(crate) fn answers(&self) -> Vec<(Place, Answer)> {
        self.answers.try_iter().collect()
    }
}

/// The thread. It ends with its inquiry, after the answer that it may be waiting for.
struct Worker {
    config: ClientConfig,
    wake: Arc<Waker>,
    /// For log lines.
    scope: Arc<str>,
    answers: Sender<(Place, Answer)>,
    /// The client that reads commits, kept from one look to the next.
    commits: Option<BaseConsumer<Probe>>,
    quiet: Quiet,
}

impl Worker {
    fn run(mut self, questions: &Receiver<Question>) {
        while let Ok(question) = questions.recv() {
            match question {
                Question::Commits(places) => self.commits(places),
                Question::Records(records) => self.compare(records),
            }
        }
    }

    fn answer(&self, place: Place, answer: Answer) {
        if self.answers.send((place, answer)).is_ok() {
            self.wake.wake();
        }
    }

    fn commits(&mut self, mut places: Vec<Place>) {
        places.retain(Place::is_live);
        let list = self.committed(&places);
        for place in places {
            let element = list.as_ref().and_then(|list| list.find_partition(&place.id.0, place.id.1));
            let answer = match element {
                // A refusal for this partition says nothing about its commit.
                Some(element) if element.error().is_ok() => Answer::Commit(commit(&element)),
                _ => Answer::None,
            };
            self.answer(place, answer);
        }
    }

    /// A broker that does not answer ends the round: the rest would wait as long.
    fn compare(&mut self, mut records: Vec<(Place, RecordDigest)>) {
        records.retain(|(place, ..)| place.is_live());
        if records.is_empty() {
            return;
        }
        // A client for each round: answers to an earlier round, left in its queues, would be taken for the present ones.
        let reader = Reader::new(&self.config, &self.scope);
        let mut silence = reader.as_ref().err().cloned();
        for (place, known) in records {
            let compared = match (&reader, &silence) {
                (Ok(reader), None) => reader.compare(&place.id, known),
                (Err(error), _) | (_, Some(error)) => Err(error.clone()),
            };
            let answer = match compared {
                Ok(Compared::Changed(sign)) => Answer::Changed(sign),
                Ok(Compared::Same) => Answer::Same(known),
                Ok(Compared::Gone) => Answer::Gone(known),
                Err(error) => {
                    self.failed("records", &error);
                    silence = silence.or(Some(error).filter(is_silence));
                    Answer::None
                }
            };
            self.answer(place, answer);
        }
    }

    fn committed(&mut self, places: &[Place]) -> Option<TopicPartitionList> {
        if places.is_empty() {
            return None;
        }
        let answer = self.ask_coordinator(places);
        match answer {
            Ok(list) => Some(list),
            Err(error) => {
                self.failed("commits", &error);
                None
            }
        }
    }

    fn ask_coordinator(&mut self, places: &[Place]) -> KafkaResult<TopicPartitionList> {
        let client = match &mut self.commits {
            Some(client) => client,
            none => none.insert(self.config.create_with_context(Probe::new(&self.scope))?),
        };
        // Errors and log lines since the last look.
        while client.poll(Duration::ZERO).is_some() {}
        let mut list = TopicPartitionList::with_capacity(places.len());
        for place in places {
            list.add_partition(&place.id.0, place.id.1);
        }
        client.committed_offsets(list, ANSWER)
    }

    fn failed(&mut self, of: &str, error: &KafkaError) {
        // The consumer itself says that brokers are away.
        let refused = error.rdkafka_error_code().is_some_and(is_refusal);
        match self.quiet.ask(of).filter(|_| refused) {
            Some(unsaid) => {
                tracing::warn!(target: "ackonce", scope = &*self.scope, %error, unsaid, "the {of} of the group could not be read: \
                a topic that is created again may be noticed late")
            }
            None => {
                tracing::debug!(target: "ackonce", scope = &*self.scope, %error, "the {of} of the group could not be read")
            }
        }
    }
}

/// True if the broker did not answer at all; other errors belong to one partition.
fn is_silence(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        None | Some(
            Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
        )
    )
}

fn commit(element: &TopicPartitionListElem<'_>) -> Option<Commit> {
    match element.offset() {
        Offset::Offset(offset) => Some(Commit { offset, mark: mark(element) }),
        _ => None,
    }
}

/// The driver panics on a stranger's metadata that is not UTF-8.
fn mark(element: &TopicPartitionListElem<'_>) -> Option<CommitMark> {
    catch_unwind(AssertUnwindSafe(|| CommitMark::parse(element.metadata()))).ok().flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_broker_that_does_not_answer_has_not_agreed() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1").set("group.id", "g");
        let incarnation = Arc::new(());
        let place = |number| Place { id: ("t".into(), number), incarnation: Arc::downgrade(&incarnation) };
        let digest = RecordDigest::parse("5", "0a").unwrap();
        let ask = |question| {
            let mut inquiry = Inquiry::new(&config, Arc::default(), "s".into());
            assert!(inquiry.ask(question));
            let answers = &inquiry.answers;
            let answers = [0, 1].map(|_| answers.recv_timeout(Duration::from_secs(60)).unwrap());
            assert!(answers.iter().all(|(_, answer)| matches!(answer, Answer::None)), "{answers:?}");
            assert_eq!(answers.map(|(place, _)| place.id.1), [0, 1], "each gets an answer");
        };
        std::thread::scope(|threads| {
            threads.spawn(|| ask(Question::Commits(vec![place(0), place(1)])));
            threads.spawn(|| ask(Question::Records(vec![(place(0), digest), (place(1), digest)])));
        });
    }
}
