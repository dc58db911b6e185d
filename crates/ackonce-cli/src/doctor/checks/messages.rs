//! The sample of messages.

checks! {
    NO_ID: Broken "message-without-id",
        "Every message has an ID",
        "Messages without one are dead letters, or stop the relay where there is no place for those",
        "have the producer set the ID, or name its place with --id";
    BAD_ID: Broken "message-bad-id",
        "Every ID can be used: it is there once, not empty, and of a readable form",
        "Such messages are dead letters, or stop the relay where there is no place for those",
        "have the producer set one ID, once";
    LONG_ID: Broken "message-long-id",
        "No ID is longer than 1,024 bytes",
        "Such messages are dead letters, or stop the relay where there is no place for those",
        "a shorter ID, such as a UUID";
    SHARED_ID: Broken "message-shared-id",
        "No ID is on two messages of different payloads",
        "Only the first of them takes effect; the others are taken for repeats, or buried for a payload that differs",
        "an ID for each event, not for each customer or object: have the producer set it, or name another place with --id";
    UNSTABLE_ID: Weakened "message-unstable-id",
        "No payload is there twice under different IDs",
        "A producer that makes a new ID when it sends again publishes duplicates that nobody can tell: they run twice",
        "have the producer make the ID with the event, before the first attempt to send it";
}
