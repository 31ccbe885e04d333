//! Whether a definition that was read again is what it was.
//!
//! The two trees must be the same, operator by operator. Only where the user's own changes gave a
//! column another type, what is done with that column may be done by another operator or function:
//! those are given back, for the caller to ask whether they are the same thing for the new type.

use crate::model::tree::{Class, Item, Part};
use crate::oid::ObjectId;

/// What stands in the place of what, because of a column's new type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Swap {
    /// What they are.
    pub class: Class,
    /// The original's.
    pub from: ObjectId,
    /// The copy's.
    pub to: ObjectId,
}

/// The first difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Something else is called.
    Called(Swap),
    /// Something else, in words.
    Form(String),
}

/// What a comparison gives.
type Compared<T> = std::result::Result<T, Difference>;

/// Compares all parts of an object; what the new types of columns have changed. `retyped`: a column of
/// the table has another type, so that what is assigned to it is cast in another way.
pub(crate) fn compare(original: &[Part], copy: &[Part], retyped: bool) -> Compared<Vec<Swap>> {
    let mut found = Vec::new();
    for part in original {
        let Some(other) = copy.iter().find(|other| other.part == part.part) else {
            return Err(Difference::Form(format!("{} is missing", part.part)));
        };
        found.extend(compare_trees(&part.tree, &other.tree, retyped)?);
    }
    match copy.iter().find(|part| original.iter().all(|other| other.part != part.part)) {
        Some(part) => Err(Difference::Form(format!("{} is new", part.part))),
        None => Ok(found),
    }
}

fn compare_trees(original: &Item, copy: &Item, retyped: bool) -> Compared<Vec<Swap>> {
    let mut comparison = Comparison { assigns_anew: retyped, ..Comparison::default() };
    comparison.same(original, copy)?;
    match comparison.sorts.first() {
        Some(swap) if !comparison.retyped => Err(Difference::Called(*swap)),
        _ => {
            comparison.swaps.extend(comparison.sorts);
            Ok(comparison.swaps)
        }
    }
}

#[derive(Default)]
struct Comparison {
    swaps: Vec<Swap>,
    /// Those of ORDER BY, GROUP BY, DISTINCT, which follow from a type alone.
    sorts: Vec<Swap>,
    /// A column has another type.
    retyped: bool,
    /// Columns that are written have another type.
    assigns_anew: bool,
    /// In a query that writes.
    writes: bool,
}

/// `commandType` of a query that only reads.
const SELECT: &str = "1";

/// The value below casts has another type, or another collation.
fn is_retyped(original: &Item, copy: &Item) -> bool {
    original.core().own() != copy.core().own()
}

impl Comparison {
    fn same(&mut self, original: &Item, copy: &Item) -> Compared<()> {
        let before = self.swaps.len();
        let Err(found) = self.alike(original, copy) else { return Ok(()) };
        self.swaps.truncate(before);
        // Casts come and go where what is cast has another type.
        let (inner, other) = (original.core(), copy.core());
        if (original.cast || copy.cast) && is_retyped(inner, other) {
            return self.alike(inner, other);
        }
        Err(found)
    }

    fn alike(&mut self, original: &Item, copy: &Item) -> Compared<()> {
        if original.what != copy.what || original.marks != copy.marks {
            return Err(Difference::Form(differing(original, copy)));
        }
        if original.kids.len() != copy.kids.len() {
            return Err(Difference::Form(format!("{} has another form", original.what)));
        }
        if original.what == "VAR" && original.own() != copy.own() {
            self.retyped = true;
        }
        let around = self.writes;
        if original.what == "QUERY" {
            self.writes = original.marks.iter().any(|(n, v)| n == "commandType" && v != SELECT);
        }
        let compared = self.kids(original, copy);
        self.writes = around;
        compared
    }

    fn kids(&mut self, original: &Item, copy: &Item) -> Compared<()> {
        let pairs = || original.kids.iter().zip(&copy.kids);
        // A constant has the type of what it stands beside, and is no reason for another one.
        let values = pairs().filter(|(one, _)| one.core().what != "CONST");
        let retyped = values.into_iter().any(|(one, other)| is_retyped(one, other));
        self.calls(original, copy, retyped)?;
        let assigned = self.assigns_anew && self.writes && original.what == "TARGETENTRY";
        for (one, other) in pairs() {
            let before = self.swaps.len();
            if let Err(found) = self.same(one, other) {
                self.swaps.truncate(before);
                // Beside a value of another type, or for a column of one, a constant is cast to it.
                if !(retyped || assigned) || !(one.cast || other.cast) {
                    return Err(found);
                }
                self.alike(one.core(), other.core()).map_err(|_| found)?;
            }
        }
        Ok(())
    }

    fn calls(&mut self, original: &Item, copy: &Item, retyped: bool) -> Compared<()> {
        let is_sort = original.what == "SORTGROUPCLAUSE";
        if original.calls.len() != copy.calls.len() {
            return Err(Difference::Form(format!("{} has another form", original.what)));
        }
        for (&(class, from), &(_, to)) in original.calls.iter().zip(&copy.calls) {
            let swap = Swap { class, from, to };
            if from == to {
                continue;
            } else if is_sort {
                self.sorts.push(swap);
            } else if retyped {
                self.swaps.push(swap);
            } else {
                return Err(Difference::Called(swap));
            }
        }
        if original.collations != copy.collations && !retyped {
            return Err(Difference::Form("it compares by another collation".to_owned()));
        }
        Ok(())
    }
}

/// What is not the same about two nodes.
fn differing(original: &Item, copy: &Item) -> String {
    let said = |item: &Item| {
        let marks = item.marks.iter().map(|(name, value)| format!(" {name} {value}"));
        format!("{}{}", item.what.to_lowercase(), marks.collect::<String>())
    };
    format!("{} becomes {}", said(original), said(copy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::Counterparts;
    use crate::oid::RelationId;

    fn tree(stored: &str) -> Item {
        Item::read(stored, RelationId::new(1), &Counterparts::default())
            .unwrap_or_else(|e| unreachable!("{e}"))
    }

    fn var(number: i16, type_oid: u32) -> String {
        format!(
            "{{VAR :varno 1 :varattno {number} :vartype {type_oid} :varcollid 0 :varlevelsup 0}}"
        )
    }

    fn constant(type_oid: u32) -> String {
        format!("{{CONST :consttype {type_oid} :constcollid 0 :constvalue 4 [ 5 0 0 0 0 0 0 0 ]}}")
    }

    fn operator(tag: &str, opno: u32, args: &[String]) -> String {
        let args = args.join(" ");
        format!("{{{tag} :opno {opno} :opresulttype 16 :inputcollid 0 :args ({args})}}")
    }

    fn cast(function: u32, to: u32, arg: &str) -> String {
        format!("{{FUNCEXPR :funcid {function} :funcresulttype {to} :funcformat 2 :args ({arg})}}")
    }

    fn swap(from: u32, to: u32) -> Swap {
        Swap { class: Class::Operator, from: ObjectId::new(from), to: ObjectId::new(to) }
    }

    #[test]
    fn another_operator_over_the_same_columns_is_found() {
        let one = tree(&operator("DISTINCTEXPR", 900, &[var(1, 500), constant(500)]));
        let relabelled = |inner: String| {
            format!("{{RELABELTYPE :arg {inner} :resulttype 25 :resultcollid 100}}")
        };
        let args = [relabelled(var(1, 500)), relabelled(constant(500))];
        let other = tree(&operator("DISTINCTEXPR", 98, &args));

        let swap = swap(900, 98);
        assert_eq!(compare_trees(&one, &other, false), Err(Difference::Called(swap)));
        assert_eq!(compare_trees(&one, &one, false), Ok(vec![]));
    }

    #[test]
    fn a_new_type_brings_its_operator_and_takes_casts_away() {
        let one = tree(&operator("OPEXPR", 521, &[var(1, 23), constant(23)]));
        let other = tree(&operator("OPEXPR", 419, &[var(1, 20), constant(23)]));
        let swap = swap(521, 419);
        assert_eq!(compare_trees(&one, &other, false), Ok(vec![swap]));

        let one = tree(&operator("OPEXPR", 410, &[cast(481, 20, &var(1, 23)), var(2, 20)]));
        let other = tree(&operator("OPEXPR", 410, &[var(1, 20), var(2, 20)]));
        assert_eq!(compare_trees(&one, &other, false), Ok(vec![]));
    }

    #[test]
    fn a_new_type_elsewhere_in_the_tree_excuses_nothing() {
        let both = |opno: u32, type_oid: u32| {
            let one = operator("DISTINCTEXPR", opno, &[var(1, 500), constant(500)]);
            let other = operator("OPEXPR", 96, &[var(2, type_oid), var(2, type_oid)]);
            tree(&format!("{{BOOLEXPR :boolop and :args ({one} {other})}}"))
        };
        let swap = swap(900, 98);
        assert_eq!(
            compare_trees(&both(900, 23), &both(98, 20), true),
            Err(Difference::Called(swap))
        );
    }

    #[test]
    fn what_is_assigned_to_a_column_of_a_new_type_is_cast_to_it() {
        let update = |value: &str| {
            let target = format!("{{TARGETENTRY :expr {value} :resno 1}}");
            tree(&format!("{{QUERY :commandType 2 :rtable <> :targetList ({target})}}"))
        };
        let (one, other) = (update(&constant(23)), update(&cast(481, 20, &constant(23))));
        assert_eq!(compare_trees(&one, &other, true), Ok(vec![]));
        assert!(compare_trees(&one, &other, false).is_err());
    }

    #[test]
    fn another_column_is_found() {
        let one = tree(&operator("OPEXPR", 96, &[var(1, 23), var(2, 23)]));
        let other = tree(&operator("OPEXPR", 96, &[var(1, 23), var(3, 23)]));
        assert!(matches!(compare_trees(&one, &other, false), Err(Difference::Form(_))));
    }

    #[test]
    fn an_array_that_is_cast_is_an_array_of_casts() {
        let elements = |elements: String, type_oid: u32| {
            format!(
                "{{ARRAYEXPR :array_typeid {type_oid} :elements ({elements}) :multidims false}}"
            )
        };
        let place = "{CASETESTEXPR :typeId 1043 :collation 0}";
        let one = tree(&format!(
            "{{ARRAYCOERCEEXPR :arg {} :elemexpr {} :resulttype 1231 :resultcollid 0}}",
            elements(format!("{} {}", constant(1043), constant(1043)), 1015),
            cast(77, 1700, place)
        ));
        let casts = format!("{0} {0}", cast(77, 1700, &constant(1043)));
        assert_eq!(compare_trees(&one, &tree(&elements(casts, 1231)), false), Ok(vec![]));
    }

    #[test]
    fn parts_must_be_the_same_ones() {
        let part = |name: &str| Part { part: name.to_owned(), tree: tree(&var(1, 23)) };
        let (using, check) = (part("USING"), part("WITH CHECK"));
        assert_eq!(
            compare(&[using.clone(), check.clone()], &[check.clone(), using.clone()], false),
            Ok(vec![])
        );
        assert!(
            compare(std::slice::from_ref(&using), &[using.clone(), check.clone()], false).is_err()
        );
        assert!(compare(&[using.clone(), check], &[using], false).is_err());
    }
}
