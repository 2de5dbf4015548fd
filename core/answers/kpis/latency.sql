-- How long the answers of a minute took, in milliseconds, by model: half of them, and all but five of a hundred.
-- key: window_start, model
SELECT
    window_start,
    model,
    turns,
    first_token[1] AS first_token_p50_ms,
    first_token[2] AS first_token_p95_ms,
    total[1] AS total_p50_ms,
    total[2] AS total_p95_ms
FROM (
    SELECT
        FLOOR(asked_at TO MINUTE) AS window_start,
        model,
        COUNT(*) AS turns,
        -- both of one list: each PERCENTILE keeps all numbers of its own, and sorts them
        PERCENTILE(first_token_ms, ARRAY[0.5, 0.95]) AS first_token,
        PERCENTILE(total_ms, ARRAY[0.5, 0.95]) AS total
    FROM turns
    GROUP BY FLOOR(asked_at TO MINUTE), model
)
