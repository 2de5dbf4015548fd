-- How long the answers of a minute took, in milliseconds, by model: half of them, and all but five of a hundred.
-- key: window_start, model
SELECT
    FLOOR(asked_at TO MINUTE) AS window_start,
    model,
    COUNT(*) AS turns,
    PERCENTILE(first_token_ms, 0.5) AS first_token_p50_ms,
    PERCENTILE(first_token_ms, 0.95) AS first_token_p95_ms,
    PERCENTILE(total_ms, 0.5) AS total_p50_ms,
    PERCENTILE(total_ms, 0.95) AS total_p95_ms
FROM turns
GROUP BY FLOOR(asked_at TO MINUTE), model
