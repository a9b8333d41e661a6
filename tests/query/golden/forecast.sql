-- PREDICT SUM(orders.amount, 0, 7, days) FORECAST 4 TIMEFRAMES FOR EACH items.id

WITH anchors("time", n) AS (VALUES
  (TIMESTAMP '2024-01-31 00:00:00', 0),
  (TIMESTAMP '2024-02-07 00:00:00', 1),
  (TIMESTAMP '2024-02-14 00:00:00', 2)
), "eligible" AS (
  SELECT a.n, e."#row"::INTEGER AS entity
  FROM anchors a JOIN "items" e ON e."#time" <= a."time"
), "cells" AS (
  SELECT * FROM (VALUES
    (TIMESTAMP '2024-01-31 00:00:00', 0, 0),
    (TIMESTAMP '2024-02-07 00:00:00', 0, 1),
    (TIMESTAMP '2024-02-14 00:00:00', 1, 2),
    (TIMESTAMP '2024-02-21 00:00:00', 2, 3),
    (TIMESTAMP '2024-02-28 00:00:00', 3, 4),
    (TIMESTAMP '2024-03-06 00:00:00', 4, 5),
    (TIMESTAMP '2024-03-13 00:00:00', 5, 6)
  ) cell("end", first, last)
), "sum of orders" AS (
  SELECT n, entity, v1 AS value
  FROM (
    SELECT x.first AS n, c."#item_id"::INTEGER AS entity, SUM(CAST(c."amount" AS DOUBLE)) AS v1
    FROM "orders" c
    ASOF JOIN "cells" x ON c."#time" <= x."end"
    WHERE c."#item_id" IS NOT NULL AND x.first < x.last
    GROUP BY 1, 2
  )
), "timeframes" AS (
  SELECT * FROM (VALUES (0, 0), (1, 1), (2, 2)) timeframe(n, first)
)
SELECT s.entity, a."time", [CAST(COALESCE(f1.value, 0) AS DOUBLE), CAST(COALESCE(f2.value, 0) AS DOUBLE), CAST(COALESCE(f3.value, 0) AS DOUBLE), CAST(COALESCE(f4.value, 0) AS DOUBLE)] AS target
FROM eligible s
JOIN anchors a ON a.n = s.n
JOIN "timeframes" ON "timeframes".n = s.n
LEFT JOIN "sum of orders" f1 ON f1.n = "timeframes".first + 0 AND f1.entity = s.entity
LEFT JOIN "sum of orders" f2 ON f2.n = "timeframes".first + 1 AND f2.entity = s.entity
LEFT JOIN "sum of orders" f3 ON f3.n = "timeframes".first + 2 AND f3.entity = s.entity
LEFT JOIN "sum of orders" f4 ON f4.n = "timeframes".first + 3 AND f4.entity = s.entity
ORDER BY s.n, s.entity
