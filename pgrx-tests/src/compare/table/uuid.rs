//! A random uuid as key: neighbours in the table are no neighbours in its index.

use super::Table;

pub(super) const TABLE: Table = Table {
    name: "sessions",
    columns: "id         uuid NOT NULL DEFAULT gen_random_uuid(),
              person     bigint NOT NULL,
              version    bigint NOT NULL DEFAULT 0,
              address    inet,
              started_at timestamptz NOT NULL DEFAULT now()",
    fill: "INSERT INTO public.sessions (id, person, address, started_at)
           SELECT md5(n::text)::uuid, n % 100000, inet '10.0.0.0' + n,
                  timestamptz '2020-01-01' + n * interval '37 s'
             FROM generate_series(1, {rows}::bigint) n",
    unique: &["id"],
    indexes: &["person"],
    key: "('x' || left(id::text, 8))::bit(32)::bigint",
    version: "version",
    at: "id = md5(CAST(:id AS text))::uuid",
    doomed: "id = md5(CAST(:id AS text))::uuid",
    set: "version = version + 1",
    insert: "INSERT INTO sessions (person) VALUES (:id)",
    fewer: 1,
};
