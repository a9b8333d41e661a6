-- PREDICT users.age > 30 FOR EACH users
-- WHERE COUNT(messages.*, -30, 0) > 0 AND companies.size > 5 VIA messages.sender_id

WITH "exists of messages" AS (
  SELECT c."#sender_id"::INTEGER AS entity, TRUE AS value
  FROM "messages" c
  JOIN "users" a ON a."#row" = c."#sender_id" AND c."#time" > a."#time" + INTERVAL (-30) DAY AND c."#time" < a."#time"
  WHERE c."#sender_id" IS NOT NULL
  GROUP BY 1
), "eligible" AS (
  SELECT e."#row"::INTEGER AS entity
  FROM "users" e
  JOIN "exists of messages" ON "exists of messages".entity = e."#row"
  LEFT JOIN "companies" p1 ON p1."#row" = e."#company_id"
  WHERE e."#time" IS NOT NULL AND (COALESCE("exists of messages".value, FALSE) AND (p1."size" > 5))
)
SELECT s.entity, e."#time" AS "time", CAST((e."age" > 30) AS DOUBLE) AS target
FROM eligible s
JOIN "users" e ON e."#row" = s.entity
ORDER BY s.entity
