-- Tokens of an hour, by tenant and model: what a bill is made of.
-- key: window_start, tenant, model
SELECT
    FLOOR(asked_at TO HOUR) AS window_start,
    tenant,
    model,
    COUNT(*) AS turns,
    SUM(CAST(prompt_tokens AS BIGINT)) AS prompt_tokens,
    SUM(CAST(answer_tokens AS BIGINT)) AS answer_tokens
FROM turns
GROUP BY FLOOR(asked_at TO HOUR), tenant, model
