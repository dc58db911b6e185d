//! The relay's settings.

checks! {
    WAIT: Broken "settings-window",
        "The window is longer than any wait between two attempts",
        "The record of a message that waits for its next attempt is forgotten: its attempts begin anew, and copies run beside it",
        "a longer --window, or shorter times in --backoff and --retry-topics";
    STORE_TIMEOUT: Weakened "settings-lease",
        "The store's time limit is a third of the lease at most",
        "One slow answer of the store uses up the time for a heartbeat: leases are lost, and their messages run again",
        "a longer --lease, or a shorter time limit in the store's URL";
    NO_DEAD_LETTER: Weakened "settings-dead-letter",
        "There is a place for messages that never succeed",
        "A message that the sink always refuses is tried again without end",
        "--dead-letter TOPIC|EXCHANGE";
    ID_KEY: Weakened "settings-id-key",
        "Message IDs are not taken from the key",
        "Right only where a key names an event; where it names a customer, all messages of the customer are one",
        "--id header:NAME or json:/POINTER";
    ID_PAYLOAD: Weakened "settings-id-payload",
        "Message IDs are not made of the payload",
        "Two events with equal payloads are one",
        "--id header:NAME or json:/POINTER";
}
