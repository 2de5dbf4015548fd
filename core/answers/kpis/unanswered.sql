-- Questions of an hour that got no answer, by tenant: the model failed, or the client went away; and those for which
-- nothing was found.
-- key: window_start, tenant
SELECT
    FLOOR(asked_at TO HOUR) AS window_start,
    tenant,
    COUNT(*) AS turns,
    COUNT(CASE WHEN finish = 'error' THEN 1 END) AS failed,
    COUNT(CASE WHEN finish = 'cancelled' THEN 1 END) AS cancelled,
    COUNT(CASE WHEN citations = 0 THEN 1 END) AS nothing_found
FROM turns
GROUP BY FLOOR(asked_at TO HOUR), tenant
