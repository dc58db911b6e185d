//! RabbitMQ.

checks! {
    QUEUE: Broken "amqp-queue",
        "The queue is there, and the user may read it",
        "Nothing is consumed",
        "declare the queue, or mend its name in --from; rabbitmqctl set_permissions for a right that is missing";
    EXCLUSIVE: Broken "amqp-exclusive",
        "The queue does not belong to one connection",
        "No relay can consume it, and it ends with that connection, with its messages",
        "declare it without exclusive";
    STREAM: Broken "amqp-stream",
        "The queue is no stream",
        "A stream keeps no acknowledgements; the consumer refuses it",
        "a quorum queue that is bound to the same exchange";
    DURABLE: Broken "amqp-durable",
        "The queue is durable",
        "A restart of the broker removes the queue with its messages",
        "declare it durable; an existing queue has to be deleted and declared again";
    AUTO_DELETE: Broken "amqp-auto-delete",
        "The queue outlives its consumers",
        "The queue goes with its last consumer, and with it all that is published until the next one declares it",
        "declare it without auto-delete";
    EXPIRES: Broken "amqp-expires",
        "The queue does not expire",
        "While no relay runs for so long, the queue is removed with its messages",
        "declare it without x-expires, or clear the policy";
    DELIVERY_LIMIT: Broken "amqp-delivery-limit",
        "A delivery limit has a dead-letter exchange behind it",
        "A message that comes back more often, by crashes or lost connections, is dropped",
        "set x-dead-letter-exchange, or a policy with dead-letter-exchange";
    AT_MOST_ONCE: Weakened "amqp-at-most-once",
        "A quorum queue dead-letters at least once",
        "Dead letters of the broker's own are lost when their target is away or full",
        "dead-letter-strategy=at-least-once with overflow=reject-publish, as arguments or as a policy";
    TTL: Broken "amqp-ttl",
        "Messages do not expire, or a dead-letter exchange takes them",
        "Messages that wait for longer, in an outage of the relay for instance, are dropped",
        "declare it without x-message-ttl, or set x-dead-letter-exchange";
    MAX_LENGTH: Broken "amqp-max-length",
        "A full queue refuses new messages, or a dead-letter exchange takes the old ones",
        "A full queue drops its oldest messages",
        "overflow=reject-publish, or x-dead-letter-exchange";
    OWN_EXCHANGE: Broken "amqp-dead-letter-exchange",
        "The dead-letter exchange of the queue's own is there, and bound",
        "The broker drops the messages that it dead-letters",
        "declare the exchange, and bind a queue to it";
    DEAD_LETTER: Broken "amqp-dead-letter",
        "The exchange of --dead-letter is there, and bound",
        "The relay does not start; without a binding, messages that are given up wait without end",
        "declare the exchange, and bind a queue to it";
    CIRCLE: Broken "amqp-dead-letter-circle",
        "The exchange of --dead-letter does not lead back to the queue",
        "Each letter comes back as a message; the relay refuses it",
        "a queue of its own, bound to an exchange of its own";
    CONSUMER_TIMEOUT: Weakened "amqp-consumer-timeout",
        "The queue's consumer time-out is above --lease and --timeout",
        "The broker closes the channel while a message runs or waits for a lease, and delivers all that was prefetched again",
        "raise x-consumer-timeout, or shorten --lease and --timeout";
    PRIORITY: Weakened "amqp-priority",
        "The queue has no priorities",
        "Messages overtake one another: no order can be kept, and low ones may wait without end",
        "declare it without x-max-priority";
    MEMBERS: Weakened "amqp-members",
        "Every member of a quorum queue is there",
        "The loss of more members stops the queue",
        "bring the missing nodes back";
}
