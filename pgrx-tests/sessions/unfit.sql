-- The table users with three rows that break the new constraints of docs/recipes.md.
\ir users.sql
UPDATE users SET name = '' WHERE id IN (3, 4);
UPDATE users SET email = NULL WHERE id = 5;
