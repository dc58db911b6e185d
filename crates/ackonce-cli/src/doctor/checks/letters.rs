//! Kafka: the dead-letter topic and the retry topics.

checks! {
    DEAD_TOPIC: Broken "kafka-dead-letter",
        "The dead-letter topic is there, and the user may describe it",
        "The relay does not start",
        "create the topic of --dead-letter";
    DEAD_CIRCLE: Broken "kafka-dead-letter-circle",
        "The relay does not read its own dead-letter topic or retry topics",
        "Each letter comes back as a message; the relay refuses it",
        "a name in --dead-letter and --retry-topics that --from does not read";
    DEAD_COMPACT: Broken "kafka-dead-letter-compact",
        "The dead-letter topic and the retry topics are not compacted",
        "A later copy with the same key removes one that nobody has read, and its message is lost",
        "kafka-configs --alter --topic TOPIC --add-config cleanup.policy=delete";
    DEAD_RETENTION: Weakened "kafka-dead-letter-retention",
        "Letters are kept for at least a day",
        "Letters are deleted before somebody has seen them, and their messages are lost",
        "kafka-configs --alter --topic TOPIC --add-config retention.ms=2592000000";
    DEAD_WINDOW: Weakened "kafka-dead-letter-window",
        "The window is as long as letters are kept",
        "A letter that is moved back after the window is a new message: a second copy of it runs again",
        "--window as long as the dead-letter topic's retention.ms";
    DEAD_SIZE: Weakened "kafka-dead-letter-size",
        "The dead-letter topic and the retry topics take messages as large as the source does",
        "The letter of a large message is cut, and its payload is lost",
        "kafka-configs --alter --topic TOPIC --add-config max.message.bytes=N, above that of the source";
    RETRY_TOPIC: Broken "kafka-retry-topic",
        "Every retry topic is there, and the user may describe it",
        "The relay does not start",
        "create the topics of --retry-topics";
    RETRY_RETENTION: Broken "kafka-retry-retention",
        "Retry topics keep messages for twice their delay, at least",
        "Messages are deleted before they are due, and lost",
        "kafka-configs --alter --topic TOPIC --add-config retention.ms=604800000";
}
