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
    /// It can become text, from which only a mapping leads back.
    pub as_text: bool,
}

/// All of them.
pub const KINDS: [Kind; 14] = [
    Kind {
        name: "amount",
        definition: "integer",
        value: "hashtext({email})",
        types: &["bigint", "numeric"],
        as_text: false,
    },
    Kind {
        name: "price",
        definition: "numeric(12, 2)",
        value: "(hashtext({email}) % 100000)::numeric / 100",
        types: &["numeric(14, 4)", "numeric"],
        as_text: false,
    },
    Kind {
        name: "tags",
        definition: "text[]",
        value: "string_to_array({name}, ' ')",
        types: &["varchar[]"],
        as_text: false,
    },
    Kind {
        name: "doc",
        definition: "jsonb",
        value: "jsonb_build_object('name', {name}, 'email', {email})",
        types: &[],
        as_text: true,
    },
    Kind {
        name: "body",
        definition: "text",
        value: "(CASE WHEN hashtext({email}) % 40 = 0 THEN repeat(md5({email}), 250) END)",
        types: &["varchar(9000)"],
        as_text: false,
    },
    Kind {
        name: "born",
        definition: "date",
        value: "date '2000-01-01' + abs(hashtext({email}) % 10000)",
        types: &["timestamp"],
        as_text: true,
    },
    Kind {
        name: "seen",
        definition: "timestamptz",
        value: "to_timestamp(hashtext({email}))",
        types: &["timestamp"],
        as_text: false,
    },
    Kind {
        name: "flag",
        definition: "boolean",
        value: "hashtext({email}) % 2 = 0",
        types: &[],
        as_text: true,
    },
    Kind {
        name: "ratio",
        definition: "double precision",
        value: "hashtext({email}) / 8.0",
        types: &["numeric"],
        as_text: false,
    },
    Kind {
        name: "raw",
        definition: "bytea",
        value: "decode(md5({email}), 'hex')",
        types: &[],
        as_text: false,
    },
    Kind {
        name: "code",
        definition: "varchar(60)",
        value: "left({email}, 60)",
        types: &["text", "varchar(80)"],
        as_text: false,
    },
    Kind {
        name: "mood",
        definition: "public.mood",
        value: "(CASE WHEN hashtext({email}) % 3 = 0 THEN 'sad' END)::public.mood",
        types: &[],
        as_text: false,
    },
    Kind {
        name: "span",
        definition: "int4range",
        value: "int4range(0, abs(hashtext({email}) % 1000) + 1)",
        types: &[],
        as_text: false,
    },
    Kind {
        name: "small",
        definition: "smallint",
        value: "hashtext({email}) % 1000",
        types: &["integer", "bigint"],
        as_text: false,
    },
];
