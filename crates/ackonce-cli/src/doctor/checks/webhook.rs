//! Webhooks.

checks! {
    ADDRESS: Broken "webhook-address",
        "The address of --from can be listened at",
        "The relay does not start: no event arrives, until the provider gives up",
        "HOST:PORT of this host in --from, with a port above 1023 or the right to a lower one (CAP_NET_BIND_SERVICE)";
    SECRET: Broken "webhook-secret",
        "Each variable of secret-env holds a secret in the provider's form",
        "The relay does not start; with a newline or quotes around its secret, it would refuse every event as forged",
        "set the variable to the secret as the provider shows it, and run the doctor in the relay's environment";
    SHORT_SECRET: Weakened "webhook-short-secret",
        "A secret has 16 bytes at least",
        "From one signed request a stranger can guess the secret, and sign events of his own",
        "a random secret of 32 bytes, at the provider and in the variable";
    WINDOW: Broken "webhook-window",
        "The window lasts as long as the provider may send an event again, and twice the tolerance for its signature",
        "The relay does not start; a late repeat would find no record, and run again",
        "a longer --window";
    BACKOFF: Weakened "webhook-backoff",
        "The longest back-off is shorter than the provider's retries",
        "The provider's last attempts can all find the event waiting for its next one: then it is lost",
        "a shorter time in --backoff";
    ALONE: Weakened "webhook-retries",
        "The provider sends a failed event again by itself",
        "An event that comes while the sink or the store is away is lost, unless somebody asks the provider for it",
        "ask for failed deliveries on a schedule (GitHub: POST /repos/…/deliveries/ID/attempts), or turn on retries (Twilio: \
         #rc=5&rp=all behind the address); then --accept webhook-retries";
    BODY: Weakened "webhook-body",
        "The sink of --to takes the longest body that the provider sends",
        "A longer event fails at every attempt, until the provider gives up",
        "kafka.message.max.bytes=N in --to, and max.message.bytes of the topic";
}
