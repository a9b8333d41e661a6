-- PREDICT orders.item_id RANK TOP 10 FOR EACH orders

WITH "eligible" AS (
  SELECT e."#row"::INTEGER AS entity
  FROM "orders" e
  WHERE e."#time" IS NOT NULL
)
SELECT s.entity, e."#time" AS "time", e."#item_id"::INTEGER AS target
FROM eligible s
JOIN "orders" e ON e."#row" = s.entity
ORDER BY s.entity
