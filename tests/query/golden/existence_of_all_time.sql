-- PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id
-- WHERE COUNT(orders.*, -INF, 0, days) > 0 AND users.company_id IS NOT NULL

WITH anchors("time", n, "time + 7 days") AS (VALUES
  (TIMESTAMP '2024-01-31 00:00:00', 0, TIMESTAMP '2024-02-07 00:00:00'),
  (TIMESTAMP '2024-02-07 00:00:00', 1, TIMESTAMP '2024-02-14 00:00:00'),
  (TIMESTAMP '2024-02-14 00:00:00', 2, TIMESTAMP '2024-02-21 00:00:00')
), "exists of orders" AS (
  SELECT CAST(UNNEST(range(first, LEAST(last + 1, next))) AS INTEGER) AS n, entity, TRUE AS value
  FROM (
    SELECT c."#user_id"::INTEGER AS entity, a.n AS first, 2 AS last,
      LEAD(a.n) OVER (PARTITION BY c."#user_id" ORDER BY a.n) AS next
    FROM "orders" c
    ASOF JOIN anchors a ON c."#time" <= a."time"
    WHERE c."#user_id" IS NOT NULL
    GROUP BY c."#user_id", a.n
  )
), "eligible" AS (
  SELECT a.n, e."#row"::INTEGER AS entity
  FROM "exists of orders" JOIN anchors a ON a.n = "exists of orders".n
  JOIN "users" e ON e."#row" = "exists of orders".entity AND e."#time" <= a."time"
  WHERE (COALESCE("exists of orders".value, FALSE) AND (e."company_id" IS NOT NULL))
), "count of orders" AS (
  SELECT a.n, c."#user_id"::INTEGER AS entity, COUNT(*) AS value
  FROM "orders" c
  ASOF JOIN anchors a ON c."#time" > a."time"
  WHERE c."#user_id" IS NOT NULL AND c."#time" <= a."time + 7 days"
  GROUP BY 1, 2
)
SELECT s.entity, a."time", CAST(COALESCE("count of orders".value, 0) AS DOUBLE) AS target
FROM eligible s
JOIN anchors a ON a.n = s.n
LEFT JOIN "count of orders" ON "count of orders".n = s.n AND "count of orders".entity = s.entity
ORDER BY s.n, s.entity
