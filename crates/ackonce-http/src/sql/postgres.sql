-- Answers kept in the store's schema, as plain columns; CREATE VIEW ... AS this, if you like. By the store's clock.
SELECT
    name.id AS request, -- POST /payments BUCKET KEY, where names are kept
    (head ->> 'status')::int4 AS status,
    head -> 'headers' AS headers,
    head ->> 'kept' AS not_kept, -- streamed, too-large: the body was passed on
    body,
    fingerprint,
    to_timestamp(fence / 1e6) AS created,
    to_timestamp(expires / 1e6 - (head ->> 'window_ms')::float8 / 1e3) AS completed,
    to_timestamp(expires / 1e6) AS expires
FROM (
    SELECT
        record.*,
        convert_from(substring(detail FROM 1 FOR position('\x0a'::bytea IN detail)), 'UTF8')::jsonb AS head,
        substring(detail FROM position('\x0a'::bytea IN detail) + 1) AS body
    FROM {schema}.record
    WHERE substring(detail FROM 1 FOR 16) = convert_to('{"ackonce-http":', 'UTF8')
) AS kept
LEFT JOIN {schema}.name ON name.key = kept.key
