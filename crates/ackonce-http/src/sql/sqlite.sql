-- Answers kept in {table}, as plain columns. Moments are microseconds since 1970, by the store's clock.
SELECT
    CAST(id AS TEXT) AS request, -- POST /payments BUCKET KEY, where names are kept
    json_extract(head, '$.status') AS status,
    json_extract(head, '$.headers') AS headers,
    json_extract(head, '$.kept') AS not_kept, -- streamed, too-large: the body was passed on
    body,
    fingerprint,
    coalesce(claimed, fence) AS created,
    expires - 1000 * json_extract(head, '$.window_ms') AS completed,
    expires
FROM (
    SELECT
        *,
        CAST(substr(outcome, 1, instr(outcome, x'0a')) AS TEXT) AS head,
        substr(outcome, instr(outcome, x'0a') + 1) AS body
    FROM {table}
    WHERE state = 0 AND substr(outcome, 1, 16) = CAST('{"ackonce-http":' AS BLOB)
)
