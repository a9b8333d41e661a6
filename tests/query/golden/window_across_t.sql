-- PREDICT MEDIAN(orders.amount, -30, 30) FOR EACH users.id

WITH anchors("time", n, "time - 30 days", "time + 30 days") AS (VALUES
  (TIMESTAMP '2024-01-31 00:00:00', 0, TIMESTAMP '2024-01-01 00:00:00', TIMESTAMP '2024-03-01 00:00:00'),
  (TIMESTAMP '2024-03-01 00:00:00', 1, TIMESTAMP '2024-01-31 00:00:00', TIMESTAMP '2024-03-31 00:00:00'),
  (TIMESTAMP '2024-03-31 00:00:00', 2, TIMESTAMP '2024-03-01 00:00:00', TIMESTAMP '2024-04-30 00:00:00')
), "eligible" AS (
  SELECT a.n, e."#row"::INTEGER AS entity
  FROM anchors a JOIN "users" e ON e."#time" <= a."time"
), "median of orders" AS (
  SELECT a.n, c."#user_id"::INTEGER AS entity, MEDIAN(CAST(c."amount" AS DOUBLE)) AS value
  FROM "orders" c
  JOIN anchors a ON c."#time" > a."time - 30 days" AND c."#time" <= a."time + 30 days"
  WHERE c."#user_id" IS NOT NULL
  GROUP BY 1, 2
)
SELECT s.entity, a."time", CAST("median of orders".value AS DOUBLE) AS target
FROM eligible s
JOIN anchors a ON a.n = s.n
LEFT JOIN "median of orders" ON "median of orders".n = s.n AND "median of orders".entity = s.entity
ORDER BY s.n, s.entity
