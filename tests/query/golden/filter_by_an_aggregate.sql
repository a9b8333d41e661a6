-- PREDICT COUNT(orders.* WHERE COUNT(reviews.*, -7, 0, days) > 0, 0, 7) FOR EACH users.id

WITH anchors("time", n, "time + 7 days", "time - 7 days") AS (VALUES
  (TIMESTAMP '2024-01-31 00:00:00', 0, TIMESTAMP '2024-02-07 00:00:00', TIMESTAMP '2024-01-24 00:00:00'),
  (TIMESTAMP '2024-02-07 00:00:00', 1, TIMESTAMP '2024-02-14 00:00:00', TIMESTAMP '2024-01-31 00:00:00'),
  (TIMESTAMP '2024-02-14 00:00:00', 2, TIMESTAMP '2024-02-21 00:00:00', TIMESTAMP '2024-02-07 00:00:00')
), "eligible" AS (
  SELECT a.n, e."#row"::INTEGER AS entity
  FROM anchors a JOIN "users" e ON e."#time" <= a."time"
), "exists of reviews" AS (
  SELECT a.n, c."#order_id"::INTEGER AS entity, TRUE AS value
  FROM "reviews" c
  ASOF JOIN anchors a ON c."#time" > a."time - 7 days"
  WHERE c."#order_id" IS NOT NULL AND c."#time" <= a."time"
  GROUP BY 1, 2
), "count of orders" AS (
  SELECT a.n, c."#user_id"::INTEGER AS entity, COUNT(*) AS value
  FROM "orders" c
  ASOF JOIN anchors a ON c."#time" > a."time"
  LEFT JOIN "exists of reviews" ON "exists of reviews".n = a.n AND "exists of reviews".entity = c."#row"
  WHERE c."#user_id" IS NOT NULL AND c."#time" <= a."time + 7 days" AND COALESCE("exists of reviews".value, FALSE)
  GROUP BY 1, 2
)
SELECT s.entity, a."time", CAST(COALESCE("count of orders".value, 0) AS DOUBLE) AS target
FROM eligible s
JOIN anchors a ON a.n = s.n
LEFT JOIN "count of orders" ON "count of orders".n = s.n AND "count of orders".entity = s.entity
ORDER BY s.n, s.entity
