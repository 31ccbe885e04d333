//! Columns besides key, name and email address.

/// A column besides key, name and email address.
#[derive(Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub definition: &'static str,
    /// Over `{name}` and `{email}`.
    pub value: &'static str,
    /// Types that it can be given, from which its values come back as they were.
    pub types: &'static [&'static str],
}

/// All of them.
pub const KINDS: [Kind; 14] = [
    Kind {
        name: "amount",
        definition: "integer",
        value: "hashtext({email})",
        types: &["bigint", "numeric"],
    },
    Kind {
        name: "price",
        definition: "numeric(12, 2)",
        value: "(hashtext({email}) % 100000)::numeric / 100",
        types: &["numeric(14, 4)", "numeric"],
    },
    Kind {
        name: "tags",
        definition: "text[]",
        value: "string_to_array({name}, ' ')",
        types: &["varchar[]"],
    },
    Kind {
        name: "doc",
        definition: "jsonb",
        value: "jsonb_build_object('name', {name}, 'email', {email})",
        types: &[],
    },
    Kind {
        name: "body",
        definition: "text",
        value: "(CASE WHEN hashtext({email}) % 40 = 0 THEN repeat(md5({email}), 250) END)",
        types: &["varchar(9000)"],
    },
    Kind {
        name: "born",
        definition: "date",
        value: "date '2000-01-01' + abs(hashtext({email}) % 10000)",
        types: &["timestamp"],
    },
    Kind {
        name: "seen",
        definition: "timestamptz",
        value: "to_timestamp(hashtext({email}))",
        types: &["timestamp"],
    },
    Kind { name: "flag", definition: "boolean", value: "hashtext({email}) % 2 = 0", types: &[] },
    Kind {
        name: "ratio",
        definition: "double precision",
        value: "hashtext({email}) / 8.0",
        types: &["numeric"],
    },
    Kind { name: "raw", definition: "bytea", value: "decode(md5({email}), 'hex')", types: &[] },
    Kind {
        name: "code",
        definition: "varchar(60)",
        value: "left({email}, 60)",
        types: &["text", "varchar(80)"],
    },
    Kind {
        name: "mood",
        definition: "public.mood",
        value: "(CASE WHEN hashtext({email}) % 3 = 0 THEN 'sad' END)::public.mood",
        types: &[],
    },
    Kind {
        name: "span",
        definition: "int4range",
        value: "int4range(0, abs(hashtext({email}) % 1000) + 1)",
        types: &[],
    },
    Kind {
        name: "small",
        definition: "smallint",
        value: "hashtext({email}) % 1000",
        types: &["integer", "bigint"],
    },
];
