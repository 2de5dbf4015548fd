-- How content people are with the answers of an hour, by tenant and model; corrected as ratings come.
-- Of stars, four and five are good.
-- key: window_start, tenant, model
SELECT
    FLOOR(asked_at TO HOUR) AS window_start,
    tenant,
    model,
    COUNT(*) AS turns,
    COUNT(rating) AS rated,
    COUNT(CASE WHEN rating = 1 AND scale = 'thumbs' OR rating >= 4 THEN 1 END) AS good,
    CAST(COUNT(CASE WHEN rating = 1 AND scale = 'thumbs' OR rating >= 4 THEN 1 END) AS DOUBLE)
        / NULLIF(COUNT(rating), 0) AS satisfaction,
    CAST(AVG(CAST(sentiment AS DECIMAL(9, 6))) AS DOUBLE) AS sentiment,
    CAST(AVG(CAST(comment_sentiment AS DECIMAL(9, 6))) AS DOUBLE) AS comment_sentiment
FROM turns
GROUP BY FLOOR(asked_at TO HOUR), tenant, model
