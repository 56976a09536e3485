CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, v REAL, s TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO t SELECT i, (i * 7919) % 1009, i / 7.0, 'row ' || i FROM n;
CREATE INDEX t_k ON t(k);
SELECT count(*), sum(k), round(sum(v), 6), max(length(s)) FROM t;
SELECT k, count(*), group_concat(id) FROM t WHERE k < 3 GROUP BY k ORDER BY k;
BEGIN; DELETE FROM t WHERE id % 3 = 0; ROLLBACK;
DELETE FROM t WHERE id % 5 = 0;
SELECT count(*), hex(substr(group_concat(s, ''), 100, 20)) FROM (SELECT s FROM t ORDER BY k, id);
PRAGMA integrity_check;
