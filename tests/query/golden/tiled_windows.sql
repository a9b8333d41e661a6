-- PREDICT SUM(orders.amount, 0, 7, days) FOR EACH users.id

WITH anchors("time", n, "time + 7 days") AS (VALUES
  (TIMESTAMP '2024-01-31 00:00:00', 0, TIMESTAMP '2024-02-07 00:00:00'),
  (TIMESTAMP '2024-02-07 00:00:00', 1, TIMESTAMP '2024-02-14 00:00:00'),
  (TIMESTAMP '2024-02-14 00:00:00', 2, TIMESTAMP '2024-02-21 00:00:00')
), "eligible" AS (
  SELECT a.n, e."#row"::INTEGER AS entity
  FROM anchors a JOIN "users" e ON e."#time" <= a."time"
), "sum of orders" AS (
  SELECT a.n, c."#user_id"::INTEGER AS entity, SUM(CAST(c."amount" AS DOUBLE)) AS value
  FROM "orders" c
  ASOF JOIN anchors a ON c."#time" > a."time"
  WHERE c."#user_id" IS NOT NULL AND c."#time" <= a."time + 7 days"
  GROUP BY 1, 2
)
SELECT s.entity, a."time", CAST(COALESCE("sum of orders".value, 0) AS DOUBLE) AS target
FROM eligible s
JOIN anchors a ON a.n = s.n
LEFT JOIN "sum of orders" ON "sum of orders".n = s.n AND "sum of orders".entity = s.entity
ORDER BY s.n, s.entity
