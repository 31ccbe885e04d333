//! A key of three columns of different types.

use super::Table;

pub(super) const TABLE: Table = Table {
    name: "lines",
    columns: "tenant     int NOT NULL,
              number     bigint NOT NULL,
              line       smallint NOT NULL,
              version    int NOT NULL DEFAULT 0,
              amount     numeric(12, 2) NOT NULL,
              article    text NOT NULL,
              changed_at timestamptz NOT NULL DEFAULT now()",
    fill: "INSERT INTO public.lines (tenant, number, line, amount, article, changed_at)
           SELECT n % 1000, n / 1000, n % 5, (n % 100000) / 100.0, 'Article ' || n % 5000,
                  timestamptz '2020-01-01' + n * interval '37 s'
             FROM generate_series(1, {rows}::bigint) n",
    unique: &["tenant, number, line"],
    indexes: &["changed_at"],
    key: "tenant * 1000003::bigint + number * 7 + line",
    version: "version",
    at: "tenant = :id % 1000 AND number = :id / 1000 AND line = :id % 5",
    doomed: "tenant = :id % 1000 AND number = :id / 1000 AND line = :id % 5",
    set: "version = version + 1",
    insert: "INSERT INTO lines (tenant, number, line, amount, article)
             VALUES (:id % 1000, 1000000000 + (random() * 1e12)::bigint, 1, 1, 'New')",
    fewer: 1,
};
