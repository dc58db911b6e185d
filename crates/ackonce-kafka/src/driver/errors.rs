//! The meaning of the driver's errors: most are troubles that it is already mending, some end the consumer.

use ackonce::ErrorKind;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// The reaction to an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Nothing: it is an ordinary event.
    Nothing,
    /// The driver tries again; it is said, rarely.
    Trouble,
    /// No repetition helps.
    End(ErrorKind, &'static str),
}

pub(crate) fn meaning(error: &KafkaError) -> Meaning {
    if let KafkaError::PartitionEOF(_) = error {
        return Meaning::Nothing;
    }
    // First: its code is the one behind it.
    if let KafkaError::MessageConsumptionFatal(_) = error {
        return Meaning::End(ErrorKind::Unavailable, "the Kafka client cannot go on");
    }
    match error.rdkafka_error_code() {
        Some(Code::Fatal) => Meaning::End(ErrorKind::Unavailable, "the Kafka client cannot go on"),
        Some(Code::AutoOffsetReset) => Meaning::End(
            ErrorKind::Config,
            "the group has no valid offset and auto.offset.reset=error; set it to earliest to read from the start",
        ),
        Some(Code::NotImplemented) => Meaning::End(
            ErrorKind::Config,
            "this build cannot read a batch, most often one compressed with zstd: build ackonce-kafka with the \
            feature `zstd`",
        ),
        Some(Code::InconsistentGroupProtocol) => Meaning::End(
            ErrorKind::Config,
            "the group uses another partition.assignment.strategy or group.protocol: set the same for all members",
        ),
        Some(Code::UnsupportedAssignor) => {
            Meaning::End(ErrorKind::Config, "the broker does not know the assignor of group.remote.assignor")
        }
        _ => Meaning::Trouble,
    }
}

/// The same for an error that came out of a partition's own queue, in the place of records.
pub(crate) fn meaning_for_partition(error: &KafkaError) -> Meaning {
    match error.rdkafka_error_code() {
        // The driver goes on behind a batch whose checksum is wrong: the next records would be committed past it.
        Some(Code::BadMessage) => Meaning::End(
            ErrorKind::Corrupt,
            "a batch is damaged (check.crcs); nothing past it is committed. If it comes damaged again after a restart, the \
            broker's copy is, and has to be restored from a replica or passed over by hand",
        ),
        Some(Code::BadCompression) => Meaning::End(
            ErrorKind::Corrupt,
            "a batch cannot be decompressed: it is damaged, and has to be restored from a replica or passed over by hand",
        ),
        _ => meaning(error),
    }
}

/// The same for a consumer that has not read anything yet: a refusal ends it, as one at start does. Nothing says that it
/// will pass.
pub(crate) fn meaning_before_reading(error: &KafkaError, meaning: Meaning) -> Meaning {
    let refused = error.rdkafka_error_code().is_some_and(is_refusal);
    match meaning {
        Meaning::Trouble if refused => {
            Meaning::End(ErrorKind::Config, "Kafka refuses the consumer (Settings::on_start)")
        }
        meaning => meaning,
    }
}

/// The codes of a refusal by the broker, which time alone does not mend.
pub(crate) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
    )
}

/// The codes of a commit whose generation is over: the partitions belong to others by now.
pub(crate) fn is_over(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownMemberId
            | Code::IllegalGeneration
            | Code::StaleMemberEpoch
            | Code::FencedMemberEpoch
            | Code::FencedInstanceId
            | Code::AssignmentLost
            | Code::Fatal
    )
}

/// The codes of a letter that a topic will never take.
pub(crate) fn is_never(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidMessage
            | Code::InvalidRecord
            | Code::UnsupportedForMessageFormat
            | Code::PolicyViolation
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fatal_error_ends_the_consumer_whatever_its_inner_code() {
        let fenced = KafkaError::MessageConsumptionFatal(Code::FencedInstanceId);
        assert!(matches!(meaning(&fenced), Meaning::End(ErrorKind::Unavailable, _)));
        let down = KafkaError::MessageConsumption(Code::AllBrokersDown);
        assert_eq!(meaning(&down), Meaning::Trouble);
        assert_eq!(meaning(&KafkaError::PartitionEOF(0)), Meaning::Nothing);
    }

    /// The look at start asks for topics alone: the group's refusal comes later.
    #[test]
    fn a_group_that_is_refused_before_anything_was_read_ends_the_consumer() {
        let refused = KafkaError::MessageConsumption(Code::GroupAuthorizationFailed);
        assert_eq!(meaning(&refused), Meaning::Trouble, "a right that was taken away will be given back");
        let first = meaning_before_reading(&refused, meaning(&refused));
        assert!(matches!(first, Meaning::End(ErrorKind::Config, _)));
        let down = KafkaError::MessageConsumption(Code::AllBrokersDown);
        assert_eq!(meaning_before_reading(&down, meaning(&down)), Meaning::Trouble);
    }

    #[test]
    fn a_batch_that_the_driver_passes_over_ends_the_consumer() {
        for code in [Code::BadMessage, Code::BadCompression] {
            let error = KafkaError::MessageConsumption(code);
            assert!(matches!(meaning_for_partition(&error), Meaning::End(ErrorKind::Corrupt, _)));
            // Of a broker's connection: the driver connects again.
            assert_eq!(meaning(&error), Meaning::Trouble);
        }
        let eof = KafkaError::PartitionEOF(0);
        assert_eq!(meaning_for_partition(&eof), Meaning::Nothing);
    }
}
