-- PREDICT COUNT(orders.*, 0, 30, days) = 0
-- FOR EACH users.id
-- WHERE COUNT(orders.*, -90, 0, days) > 0

WITH anchors("time", n, "time - 90 days", "time + 30 days") AS (VALUES
  (TIMESTAMP '2024-01-31 00:00:00', 0, TIMESTAMP '2023-11-02 00:00:00', TIMESTAMP '2024-03-01 00:00:00'),
  (TIMESTAMP '2024-03-01 00:00:00', 1, TIMESTAMP '2023-12-02 00:00:00', TIMESTAMP '2024-03-31 00:00:00'),
  (TIMESTAMP '2024-03-31 00:00:00', 2, TIMESTAMP '2024-01-01 00:00:00', TIMESTAMP '2024-04-30 00:00:00')
), "exists of orders" AS (
  SELECT CAST(UNNEST(range(first, LEAST(last + 1, next))) AS INTEGER) AS n, entity, TRUE AS value
  FROM (
    SELECT c."#user_id"::INTEGER AS entity, a.n AS first, MAX(z.n) AS last,
      LEAD(a.n) OVER (PARTITION BY c."#user_id" ORDER BY a.n) AS next
    FROM "orders" c
    ASOF JOIN anchors a ON c."#time" <= a."time"
    ASOF JOIN anchors z ON c."#time" > z."time - 90 days"
    WHERE c."#user_id" IS NOT NULL
    GROUP BY c."#user_id", a.n
  )
), "eligible" AS (
  SELECT a.n, e."#row"::INTEGER AS entity
  FROM "exists of orders" JOIN anchors a ON a.n = "exists of orders".n
  JOIN "users" e ON e."#row" = "exists of orders".entity AND e."#time" <= a."time"
  WHERE COALESCE("exists of orders".value, FALSE)
), "exists of orders 2" AS (
  SELECT a.n, c."#user_id"::INTEGER AS entity, TRUE AS value
  FROM "orders" c
  ASOF JOIN anchors a ON c."#time" > a."time"
  WHERE c."#user_id" IS NOT NULL AND c."#time" <= a."time + 30 days"
  GROUP BY 1, 2
)
SELECT s.entity, a."time", CAST((NOT COALESCE("exists of orders 2".value, FALSE)) AS DOUBLE) AS target
FROM eligible s
JOIN anchors a ON a.n = s.n
LEFT JOIN "exists of orders 2" ON "exists of orders 2".n = s.n AND "exists of orders 2".entity = s.entity
ORDER BY s.n, s.entity
