//! Kafka: topics that are consumed, their brokers, the group.

checks! {
    TOPIC: Broken "kafka-topic",
        "Every topic is there",
        "Nothing is consumed; where brokers create topics by themselves, a mistyped name becomes an empty topic",
        "create the topic, or mend its name in --from";
    TOPIC_REFUSED: Broken "kafka-topic-refused",
        "The user may describe and read every topic",
        "Nothing is consumed",
        "kafka-acls --add --allow-principal User:NAME --operation Read --operation Describe --topic TOPIC";
    GROUP_REFUSED: Broken "kafka-group-refused",
        "The user may read and commit the group's offsets",
        "Nothing is committed, and every start delivers everything again",
        "kafka-acls --add --allow-principal User:NAME --operation Read --group GROUP";
    LEADER: Broken "kafka-leader",
        "Every partition has a leader",
        "The messages of the others are not delivered",
        "bring the brokers of these partitions back";
    BEHIND: Weakened "kafka-isr",
        "No replica is behind its leader",
        "The loss of one more broker may stop a partition, or lose its messages",
        "bring the missing brokers back";
    REPLICATION: Weakened "kafka-replication",
        "Each partition has at least two replicas",
        "The loss of one broker's disk loses messages, or stops their delivery",
        "kafka-reassign-partitions, to a replication factor of 3";
    MIN_INSYNC: Weakened "kafka-min-insync",
        "A message is on two replicas before its producer is answered (min.insync.replicas=2)",
        "The loss of one broker may lose messages that their producers take for sent",
        "kafka-configs --alter --topic TOPIC --add-config min.insync.replicas=2";
    MIN_INSYNC_HIGH: Broken "kafka-min-insync-high",
        "min.insync.replicas is not above the number of replicas",
        "Producers that wait for all replicas cannot write to the topic, Ackonce's letters and retries among them",
        "kafka-configs --alter --topic TOPIC --add-config min.insync.replicas=N, at most the number of replicas";
    UNCLEAN: Weakened "kafka-unclean-election",
        "Only a replica that has everything becomes the leader",
        "A broker that is behind may take over: messages are lost, and their offsets are given to others",
        "kafka-configs --alter --topic TOPIC --add-config unclean.leader.election.enable=false";
    COMPACT: Weakened "kafka-compact",
        "A topic of messages is not compacted",
        "A later message of the same key removes one that was not consumed yet",
        "kafka-configs --alter --topic TOPIC --add-config cleanup.policy=delete, or a key for each message";
    RETENTION_BYTES: Weakened "kafka-retention-bytes",
        "No size limit deletes messages",
        "A burst deletes messages that were not consumed yet",
        "kafka-configs --alter --topic TOPIC --add-config retention.bytes=-1";
    WINDOW: Weakened "kafka-window",
        "The window is as long as the topic's retention",
        "A message that is read again after the window (a reset group, a replay) runs again",
        "--window as long as retention.ms, or a shorter retention.ms";
    LOST: Broken "kafka-behind-retention",
        "The group's place in each partition is still there",
        "Messages were deleted before the group has read them: they are lost to it",
        "read them from their producer's own records, and raise retention.ms";
    BEYOND: Broken "kafka-recreated",
        "The group's place is not beyond the end of a partition",
        "The topic was deleted and created again: messages up to that place may be passed over",
        "kafka-consumer-groups --reset-offsets --to-earliest --group GROUP --topic TOPIC --execute";
    OFFSETS_RETENTION: Weakened "kafka-offsets-retention",
        "Brokers keep the offsets of a group that is away for at least a day",
        "A group that is away for longer begins anew: with everything in the topic again",
        "offsets.retention.minutes=10080 on the brokers";
    AUTO_COMMIT: Broken "kafka-auto-commit",
        "Offsets are committed once their messages are settled (enable.auto.commit is not true)",
        "Offsets of messages that have not run would be committed, and a crash would lose those; the consumer refuses it",
        "leave kafka.enable.auto.commit and kafka.enable.auto.offset.store out of --from";
    OFFSET_RESET: Broken "kafka-offset-reset",
        "A group without a place begins with the first message (auto.offset.reset is not latest)",
        "Messages that were published before the group's first commit, or while its place was lost, are passed over",
        "leave kafka.auto.offset.reset out of --from: earliest is the default, and the records make repeats harmless";
    UNCOMMITTED: Weakened "kafka-isolation",
        "Messages of aborted transactions are not read (isolation.level=read_committed)",
        "Messages that their producer has taken back take effect",
        "leave kafka.isolation.level out of --from: read_committed is the default";
    STATIC_MEMBER: Weakened "kafka-static-member",
        "The group's members are not static",
        "Two relays with one group.instance.id end one another, and a dead one's partitions wait for the whole session.timeout.ms",
        "a group.instance.id for each relay, or leave kafka.group.instance.id out of --from";
    POLL_INTERVAL: Weakened "kafka-poll-interval",
        "The lease is not longer than max.poll.interval.ms",
        "Partitions of a relay that hangs move on while its leases hold their messages back",
        "a shorter --lease, or a longer kafka.max.poll.interval.ms";
}
