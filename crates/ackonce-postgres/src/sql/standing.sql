-- How the claims of a group stand, in the same trip that sets up its transaction.
SELECT r.key, false, {now}, {r.fence}, {r.expires}, r.token, r.lease_ends, r.tally, r.fingerprint, NULL::bytea
FROM (SELECT {durable}, set_config('ackonce.run', $2, true){settings}) AS set_up
     LEFT JOIN {schema}.record r ON r.key = ANY ($1)
