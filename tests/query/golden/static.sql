-- PREDICT companies.size FOR EACH companies.id

WITH anchors("time", n) AS (VALUES
  (TIMESTAMP '2024-01-31 00:00:00', 0)
), "eligible" AS (
  SELECT a.n, e."#row"::INTEGER AS entity
  FROM anchors a JOIN "companies" e ON TRUE
)
SELECT s.entity, a."time", CAST(e."size" AS DOUBLE) AS target
FROM eligible s
JOIN anchors a ON a.n = s.n
JOIN "companies" e ON e."#row" = s.entity
ORDER BY s.n, s.entity
