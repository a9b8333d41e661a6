-- PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id
-- ASSUMING COUNT(messages.*, 0, 7) > 2 VIA messages.receiver_id

WITH anchors("time", n, "time + 7 days") AS (VALUES
  (TIMESTAMP '2024-01-31 00:00:00', 0, TIMESTAMP '2024-02-07 00:00:00'),
  (TIMESTAMP '2024-02-07 00:00:00', 1, TIMESTAMP '2024-02-14 00:00:00'),
  (TIMESTAMP '2024-02-14 00:00:00', 2, TIMESTAMP '2024-02-21 00:00:00')
), "eligible" AS (
  SELECT a.n, e."#row"::INTEGER AS entity
  FROM anchors a JOIN "users" e ON e."#time" <= a."time"
), "count of orders" AS (
  SELECT a.n, c."#user_id"::INTEGER AS entity, COUNT(*) AS value
  FROM "orders" c
  ASOF JOIN anchors a ON c."#time" > a."time"
  WHERE c."#user_id" IS NOT NULL AND c."#time" <= a."time + 7 days"
  GROUP BY 1, 2
), "count of messages" AS (
  SELECT a.n, c."#receiver_id"::INTEGER AS entity, COUNT(*) AS value
  FROM "messages" c
  ASOF JOIN anchors a ON c."#time" > a."time"
  WHERE c."#receiver_id" IS NOT NULL AND c."#time" <= a."time + 7 days"
  GROUP BY 1, 2
)
SELECT s.entity, a."time", CAST(COALESCE("count of orders".value, 0) AS DOUBLE) AS target
FROM eligible s
JOIN anchors a ON a.n = s.n
JOIN "count of messages" ON "count of messages".n = s.n AND "count of messages".entity = s.entity
LEFT JOIN "count of orders" ON "count of orders".n = s.n AND "count of orders".entity = s.entity
WHERE (COALESCE("count of messages".value, 0) > 2)
ORDER BY s.n, s.entity
