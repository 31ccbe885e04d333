UPDATE users SET last_name = 'Byron' WHERE id = 1;
INSERT INTO users (first_name, last_name, email) VALUES ('Ada', 'Lovelace', 'ada@example.org');
DELETE FROM users WHERE id = 2;
SELECT bg_revert('users');
