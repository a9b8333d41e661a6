-- PREDICT SUM(orders.amount, 0, 7, days) FORECAST 4 TIMEFRAMES FOR EACH items.id

WITH anchors("time", n, "time + 7 days", "time + 14 days", "time + 21 days", "time + 28 days") AS (VALUES
  (TIMESTAMP '2024-01-31 00:00:00', 0, TIMESTAMP '2024-02-07 00:00:00', TIMESTAMP '2024-02-14 00:00:00', TIMESTAMP '2024-02-21 00:00:00', TIMESTAMP '2024-02-28 00:00:00'),
  (TIMESTAMP '2024-02-07 00:00:00', 1, TIMESTAMP '2024-02-14 00:00:00', TIMESTAMP '2024-02-21 00:00:00', TIMESTAMP '2024-02-28 00:00:00', TIMESTAMP '2024-03-06 00:00:00'),
  (TIMESTAMP '2024-02-14 00:00:00', 2, TIMESTAMP '2024-02-21 00:00:00', TIMESTAMP '2024-02-28 00:00:00', TIMESTAMP '2024-03-06 00:00:00', TIMESTAMP '2024-03-13 00:00:00')
), "eligible" AS (
  SELECT a.n, e."#row"::INTEGER AS entity
  FROM anchors a JOIN "items" e ON e."#time" <= a."time"
), "sum of orders" AS (
  SELECT a.n, c."#item_id"::INTEGER AS entity, SUM(CAST(c."amount" AS DOUBLE)) AS value
  FROM "orders" c
  ASOF JOIN anchors a ON c."#time" > a."time"
  WHERE c."#item_id" IS NOT NULL AND c."#time" <= a."time + 7 days"
  GROUP BY 1, 2
), "sum of orders 2" AS (
  SELECT a.n, c."#item_id"::INTEGER AS entity, SUM(CAST(c."amount" AS DOUBLE)) AS value
  FROM "orders" c
  ASOF JOIN anchors a ON c."#time" > a."time + 7 days"
  WHERE c."#item_id" IS NOT NULL AND c."#time" <= a."time + 14 days"
  GROUP BY 1, 2
), "sum of orders 3" AS (
  SELECT a.n, c."#item_id"::INTEGER AS entity, SUM(CAST(c."amount" AS DOUBLE)) AS value
  FROM "orders" c
  ASOF JOIN anchors a ON c."#time" > a."time + 14 days"
  WHERE c."#item_id" IS NOT NULL AND c."#time" <= a."time + 21 days"
  GROUP BY 1, 2
), "sum of orders 4" AS (
  SELECT a.n, c."#item_id"::INTEGER AS entity, SUM(CAST(c."amount" AS DOUBLE)) AS value
  FROM "orders" c
  ASOF JOIN anchors a ON c."#time" > a."time + 21 days"
  WHERE c."#item_id" IS NOT NULL AND c."#time" <= a."time + 28 days"
  GROUP BY 1, 2
)
SELECT s.entity, a."time", [CAST(COALESCE("sum of orders".value, 0) AS DOUBLE), CAST(COALESCE("sum of orders 2".value, 0) AS DOUBLE), CAST(COALESCE("sum of orders 3".value, 0) AS DOUBLE), CAST(COALESCE("sum of orders 4".value, 0) AS DOUBLE)] AS target
FROM eligible s
JOIN anchors a ON a.n = s.n
LEFT JOIN "sum of orders" ON "sum of orders".n = s.n AND "sum of orders".entity = s.entity
LEFT JOIN "sum of orders 2" ON "sum of orders 2".n = s.n AND "sum of orders 2".entity = s.entity
LEFT JOIN "sum of orders 3" ON "sum of orders 3".n = s.n AND "sum of orders 3".entity = s.entity
LEFT JOIN "sum of orders 4" ON "sum of orders 4".n = s.n AND "sum of orders 4".entity = s.entity
ORDER BY s.n, s.entity
