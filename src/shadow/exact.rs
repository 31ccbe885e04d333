//! Whether two keys of one side can become one key of the other.
//!
//! Rows are followed by their keys. If keys that differ on one side were equal on the other, a row would
//! overwrite another one there, and nobody would see it. What makes them equal: an expression that gives
//! the same value for both (a cast that rounds, or cuts blanks off), or the equality of the other side's
//! index, its operator and its collation. So a column has to be the same bits on both sides, or the same
//! integer, and the equality there as fine as here; bits that differ differ for every bitwise equality.
//!
//! On the way back from a longer text to a shorter one blanks are cut off. No such value comes from the
//! old table, so that is allowed, and a value that would be cut raises: its row is a misfit.

use crate::ddl::exact::without_cut;
use crate::error::{Error, Result};
use crate::ident::plain;
use crate::model::key::{Key, KeyColumn};
use crate::pg::parse::{self, Search, Way};
use crate::shadow::mapped::{How, Mapped, OneWay, Sides, target};

/// Which way is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    New,
    Old,
}

/// Refuses a pair of keys by which two rows might become one.
pub(super) fn require(
    shadow: &Key,
    forward: &OneWay,
    origin: &Key,
    reverse: &OneWay,
) -> Result<()> {
    let both_given = |half: &OneWay, key: &Key| {
        key.columns.iter().all(|k| mapped(half, k).is_some_and(|m| m.how == How::Given))
    };
    let trusted = both_given(forward, shadow) && both_given(reverse, origin);
    for (to, key, half, from) in
        [(To::New, shadow, forward, origin), (To::Old, origin, reverse, shadow)]
    {
        for k in &key.columns {
            let Some(m) = mapped(half, k) else { return Err(not_exact(k)) };
            let way = m.expression.way;
            if way == Way::Computed && !trusted {
                return Err(not_exact(k));
            }
            if way == Way::Computed {
                continue;
            }
            let read = |f: &&KeyColumn| m.expression.columns.contains(&f.attnum);
            let Some(f) = from.columns.iter().find(read) else { return Err(not_exact(k)) };
            let cut = match way {
                Way::Cut(length) if to == To::New => Some(length),
                _ => None,
            };
            let equal = match way {
                Way::Integer => k.equality.bitwise,
                _ => k.equality.is_as_fine_as(&f.equality),
            };
            if cut.is_some() || !equal {
                return Err(coarser(to, key, k, f, cut));
            }
        }
    }
    Ok(())
}

fn mapped<'h>(half: &'h OneWay, k: &KeyColumn) -> Option<&'h Mapped> {
    half.mapped.iter().find(|m| m.column.attnum == k.attnum)
}

fn not_exact(k: &KeyColumn) -> Error {
    Error::state(format!(
        "key column {} is changed in a way that cannot be undone exactly: two keys might become one",
        plain(k.name.as_str())
    ))
    .hint("Leave the key's columns as they are (integer types may change), or give both forward and reverse for them as expressions that never map two values to one.")
}

fn coarser(to: To, key: &Key, k: &KeyColumn, from: &KeyColumn, cut: Option<i32>) -> Error {
    let (there, here) = match to {
        To::New => ("new", "old"),
        To::Old => ("old", "new"),
    };
    let columns = key.names().map(|n| plain(n.as_str())).collect::<Vec<_>>().join(", ");
    let said = |k: &KeyColumn| {
        let collation = k.collation_sql.as_ref().map_or(String::new(), |c| format!(" COLLATE {c}"));
        format!("{} {}{collation}", k.equals, k.type_sql)
    };
    let why = match cut {
        Some(length) => format!(
            "A length of {length} cuts blanks off the end of longer values of {}.",
            plain(k.name.as_str())
        ),
        None => format!(
            "Column {} is compared by {} in the {there} table, by {} in the {here} one.",
            plain(k.name.as_str()),
            said(k),
            said(from)
        ),
    };
    Error::state(format!(
        "key ({columns}) would be coarser in the {there} table: two keys that differ in the {here} table might be equal there, and one row would overwrite the other"
    ))
    .detail(why)
    .hint("Name another unique key of the table, by which rows are followed, with key => '{column}' (a surrogate key does, such as an identity column); or leave type, collation and length of this one as they are.")
}

/// Makes the way back to these columns raise where it would cut blanks off.
pub(super) fn raise_where_cut(
    sides: &Sides<'_>,
    reverse: &mut OneWay,
    (origin, shadow): (&Key, &Key),
    search: Search<'_>,
) -> Result<()> {
    for m in &mut reverse.mapped {
        let Way::Cut(length) = m.expression.way else { continue };
        if !origin.columns.iter().any(|k| k.attnum == m.column.attnum) {
            continue;
        }
        let read = |k: &&KeyColumn| m.expression.columns.contains(&k.attnum);
        let Some(column) = shadow.columns.iter().find(read) else { continue };
        let text = without_cut(&column.name, length);
        m.expression =
            parse::parse_mapping_as(&text, sides.shadow.into(), None, &target(&m.column), search)?;
        m.expression.way = Way::Same;
    }
    Ok(())
}
