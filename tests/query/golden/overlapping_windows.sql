-- PREDICT COUNT(orders.*, 0, 30, days)
-- FOR EACH users.id EVERY 1 week

WITH anchors("time", n) AS (VALUES
  (TIMESTAMP '2024-01-31 00:00:00', 0),
  (TIMESTAMP '2024-02-07 00:00:00', 1),
  (TIMESTAMP '2024-02-14 00:00:00', 2)
), "eligible" AS (
  SELECT a.n, e."#row"::INTEGER AS entity
  FROM anchors a JOIN "users" e ON e."#time" <= a."time"
), "cells" AS (
  SELECT * FROM (VALUES
    (TIMESTAMP '2024-01-31 00:00:00', 0, 0),
    (TIMESTAMP '2024-02-07 00:00:00', 0, 1),
    (TIMESTAMP '2024-02-14 00:00:00', 0, 2),
    (TIMESTAMP '2024-03-01 00:00:00', 0, 3),
    (TIMESTAMP '2024-03-08 00:00:00', 1, 3),
    (TIMESTAMP '2024-03-15 00:00:00', 2, 3)
  ) cell("end", first, last)
), "cells of orders" AS (
  SELECT x.first, x.last, c."#user_id"::INTEGER AS entity, COUNT(*) AS v1
  FROM "orders" c
  ASOF JOIN "cells" x ON c."#time" <= x."end"
  WHERE c."#user_id" IS NOT NULL AND x.first < x.last
  GROUP BY 1, 2, 3
), "count of orders" AS (
  SELECT CAST(UNNEST(range(first, next)) AS INTEGER) AS n, entity, value
  FROM (
    SELECT first, entity, CAST(SUM(v1) OVER so_far AS BIGINT) AS value,
      COALESCE(LEAD(first) OVER so_far, 3) AS next
    FROM (SELECT first, entity, v1 FROM "cells of orders" UNION ALL SELECT last, entity, -v1 FROM "cells of orders")
    WINDOW so_far AS (PARTITION BY entity ORDER BY first)
  )
)
SELECT s.entity, a."time", CAST(COALESCE("count of orders".value, 0) AS DOUBLE) AS target
FROM eligible s
JOIN anchors a ON a.n = s.n
LEFT JOIN "count of orders" ON "count of orders".n = s.n AND "count of orders".entity = s.entity
ORDER BY s.n, s.entity
