-- PREDICT impressions.clicked FOR EACH impressions.id

WITH "eligible" AS (
  SELECT e."#row"::INTEGER AS entity
  FROM "impressions" e
  WHERE e."#time" IS NOT NULL
)
SELECT s.entity, e."#time" AS "time", CAST(e."clicked" AS DOUBLE) AS target
FROM eligible s
JOIN "impressions" e ON e."#row" = s.entity
ORDER BY s.entity
