-- PREDICT companies.size FOR EACH users.id

WITH "eligible" AS (
  SELECT e."#row"::INTEGER AS entity
  FROM "users" e
  WHERE e."#time" IS NOT NULL
)
SELECT s.entity, e."#time" AS "time", CAST(p1."size" AS DOUBLE) AS target
FROM eligible s
JOIN "users" e ON e."#row" = s.entity
LEFT JOIN "companies" p1 ON p1."#row" = e."#company_id"
ORDER BY s.entity
