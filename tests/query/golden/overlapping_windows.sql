-- PREDICT COUNT(orders.*, 0, 30, days)
-- FOR EACH users.id EVERY 1 week

WITH anchors("time", n, "time + 30 days") AS (VALUES
  (TIMESTAMP '2024-01-31 00:00:00', 0, TIMESTAMP '2024-03-01 00:00:00'),
  (TIMESTAMP '2024-02-07 00:00:00', 1, TIMESTAMP '2024-03-08 00:00:00'),
  (TIMESTAMP '2024-02-14 00:00:00', 2, TIMESTAMP '2024-03-15 00:00:00')
), "eligible" AS (
  SELECT a.n, e."#row"::INTEGER AS entity
  FROM anchors a JOIN "users" e ON e."#time" <= a."time"
), "count of orders" AS (
  SELECT a.n, c."#user_id"::INTEGER AS entity, COUNT(*) AS value
  FROM "orders" c
  JOIN anchors a ON c."#time" > a."time" AND c."#time" <= a."time + 30 days"
  WHERE c."#user_id" IS NOT NULL
  GROUP BY 1, 2
)
SELECT s.entity, a."time", CAST(COALESCE("count of orders".value, 0) AS DOUBLE) AS target
FROM eligible s
JOIN anchors a ON a.n = s.n
LEFT JOIN "count of orders" ON "count of orders".n = s.n AND "count of orders".entity = s.entity
ORDER BY s.n, s.entity
