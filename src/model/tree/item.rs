//! A tree of the server's, reduced to what decides its meaning.
//!
//! Kept are operators, functions, collations of comparisons, casts that do something, columns,
//! constants, and the form. Left out is what follows from them (places in the text, names, the way in
//! which a call or a cast was written) and what the server may write in another way when it prints
//! the tree: a cast that changes no bit, and a cast of an array that it will read as casts of the
//! elements.

use std::fmt;

use super::counterparts::Counterparts;
use super::text::{self, Node, Value};
use crate::error::{Error, Result};
use crate::oid::{CollationId, ObjectId, OperatorId, RelationId, TypeId};

/// What an OID in a tree is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// An operator.
    Operator,
    /// A function or an aggregate.
    Function,
    /// A family of operators, by which rows are compared.
    Family,
}

/// A node, and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its tag.
    pub what: String,
    /// What must be the same in any case.
    pub marks: Vec<(String, String)>,
    /// What it calls.
    pub calls: Vec<(Class, ObjectId)>,
    /// The collations by which it compares.
    pub collations: Vec<CollationId>,
    /// Type and collation of its value, where they are known.
    pub result: Option<(TypeId, CollationId)>,
    /// The same before a cast that changes no bit, where there is one.
    pub before_cast: Option<(TypeId, CollationId)>,
    /// It is a cast of its first child.
    pub cast: bool,
    /// What it is made of.
    pub kids: Vec<Item>,
}

/// Fields of nodes that are of no meaning, or that follow from others.
const LEFT_OUT: &[&str] = &[
    "alias",
    "eref",
    "join_using_alias",
    "joinaliasvars",
    "usingClause",
    "operName",
    "colnames",
    "aliascolnames",
    "ctecolnames",
    "ctecoltypes",
    "ctecoltypmods",
    "ctecolcollations",
    "constraintDeps",
    "exclRelTlist",
    "arbiterElems",
    "runCondition",
    "rteperminfos",
];

/// Fields that must be the same in any case.
const MARKS: &[&str] = &[
    "commandType",
    "rtekind",
    "jointype",
    "rtindex",
    "boolop",
    "useOr",
    "subLinkType",
    "nulltesttype",
    "argisrow",
    "booltesttype",
    "multidims",
    "op",
    "all",
    "funcvariadic",
    "aggvariadic",
    "aggstar",
    "aggkind",
    "winstar",
    "winref",
    "frameOptions",
    "nulls_first",
    "limitOption",
    "groupDistinct",
    "kind",
    "rctype",
    "cmptype",
    "ctename",
    "ctematerialized",
    "cterecursive",
    "strength",
    "waitPolicy",
    "action",
    "funcordinality",
    "resjunk",
    "argnumber",
    "collOid",
    "typmod",
];

/// Types that hold the OID of something: of a relation, a function, a type.
const REGCLASS: TypeId = TypeId::new(2205);
const REGPROC: [TypeId; 2] = [TypeId::new(24), TypeId::new(2202)];
const REGTYPE: TypeId = TypeId::new(2206);
/// The first OID that is no built-in object's.
const FIRST_OF_USERS: TypeId = TypeId::new(16384);

/// The tag of what is no tree, but must be the same too.
pub(crate) const FORM: &str = "FORM";

impl Item {
    /// Reads a stored tree. `relation`: the table that it is over, where it is an expression or a
    /// rule. OIDs and column numbers become those of the originals.
    ///
    /// # Errors
    /// XX000 where the text has not the form that is known.
    pub(crate) fn read(
        stored: &str,
        relation: RelationId,
        counterparts: &Counterparts,
    ) -> Result<Self> {
        let value = text::read(stored)
            .ok_or_else(|| Error::internal("a stored tree has not the form that is known"))?;
        // OLD and NEW of rules and triggers are the first and the second.
        let own = Entry { kind: 0, relation: Some(relation) };
        let mut reader = Reader { counterparts, scopes: vec![vec![own, own]] };
        let mut kids = Vec::new();
        reader.value(&value, &mut kids);
        Ok(match (kids.len(), kids.pop()) {
            (1, Some(only)) => only,
            (_, last) => {
                kids.extend(last);
                Self { kids, ..Self::new("LIST") }
            }
        })
    }

    /// What is no tree, but must be the same too.
    pub(crate) fn form(text: &str) -> Self {
        let mut item = Self::new(FORM);
        item.mark("is", text);
        item
    }

    fn new(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            marks: Vec::new(),
            calls: Vec::new(),
            collations: Vec::new(),
            result: None,
            before_cast: None,
            cast: false,
            kids: Vec::new(),
        }
    }

    fn mark(&mut self, name: &str, value: impl ToString) {
        self.marks.push((name.to_owned(), value.to_string()));
    }

    /// The same value as one of another type.
    fn seen_as(self, result: Option<(TypeId, CollationId)>) -> Self {
        Self { before_cast: self.own(), result, ..self }
    }

    /// Type and collation of its value as it came into being, whatever it is seen as.
    pub(crate) fn own(&self) -> Option<(TypeId, CollationId)> {
        self.before_cast.or(self.result)
    }

    /// What it is a cast of; itself if it is none.
    pub(crate) fn core(&self) -> &Self {
        match self.kids.first() {
            Some(first) if self.cast => first.core(),
            _ => self,
        }
    }

    /// The operators that the server does not name when it prints the tree.
    pub(crate) fn unnamed(&self) -> Vec<OperatorId> {
        let mut found = Vec::new();
        self.collect_unnamed(&mut found);
        found
    }

    fn collect_unnamed(&self, found: &mut Vec<OperatorId>) {
        let operators = |item: &Self| {
            let own = item.calls.iter().filter(|(class, _)| *class == Class::Operator);
            own.map(|(_, oid)| OperatorId::from(*oid)).collect::<Vec<_>>()
        };
        let compares_hidden = || {
            self.kids.iter().map(Self::core).any(|kid| {
                kid.what == "CASETESTEXPR"
                    || (kid.what == "PARAM" && kid.marks.iter().any(|(_, v)| v == SUBLINK))
            })
        };
        match self.what.as_str() {
            "DISTINCTEXPR" | "NULLIFEXPR" | "ROWCOMPAREEXPR" => found.extend(operators(self)),
            "OPEXPR" if compares_hidden() => found.extend(operators(self)),
            "JOINEXPR" if self.marks.iter().any(|(name, _)| name == USING) => {
                for of_join in &self.kids {
                    let joined = if of_join.what == "BOOLEXPR" { &of_join.kids[..] } else { &[] };
                    for item in joined.iter().chain([of_join]).filter(|i| i.what == "OPEXPR") {
                        found.extend(operators(item));
                    }
                }
            }
            _ => {}
        }
        self.kids.iter().for_each(|kid| kid.collect_unnamed(found));
    }
}

/// The mark of a join whose columns were named, not compared.
const USING: &str = "using";
/// The kind of a parameter that stands for a column of a subquery.
const SUBLINK: &str = "sublink";

/// The item with all that it is made of, the same for the same tree.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for (name, value) in &self.marks {
            write!(f, " {name}={value}")?;
        }
        for (class, oid) in &self.calls {
            write!(f, " {class:?}={oid}")?;
        }
        for collation in &self.collations {
            write!(f, " by={collation}")?;
        }
        if !self.kids.is_empty() {
            write!(f, "(")?;
            for (at, kid) in self.kids.iter().enumerate() {
                write!(f, "{}{kid}", if at > 0 { ", " } else { "" })?;
            }
            write!(f, ")")?;
        }
        Ok(())
    }
}

/// An entry of a range table.
#[derive(Clone, Copy)]
struct Entry {
    /// Its `rtekind`.
    kind: u8,
    /// The relation that it is.
    relation: Option<RelationId>,
}

/// Reads nodes; knows the range tables of the queries around.
struct Reader<'a> {
    counterparts: &'a Counterparts,
    scopes: Vec<Vec<Entry>>,
}

impl Reader<'_> {
    fn value(&mut self, value: &Value<'_>, kids: &mut Vec<Item>) {
        match value {
            Value::Node(node) => kids.push(self.node(node)),
            Value::List(list) => list.iter().for_each(|value| self.value(value, kids)),
            Value::Nothing | Value::Word(_) | Value::Datum(_) => {}
        }
    }

    fn node(&mut self, node: &Node<'_>) -> Item {
        match node.tag {
            "VAR" => self.variable(node),
            "CONST" => self.constant(node),
            "RELABELTYPE" => self.relabel(node),
            "ARRAYCOERCEEXPR" => self.array_cast(node),
            "FUNCEXPR" => once(self.plain(node)),
            "QUERY" => {
                self.scopes.push(entries(node));
                let mut item = self.plain(node);
                self.scopes.pop();
                let target = item.kids.iter().find(|k| k.what == "TARGETENTRY");
                item.result = target.and_then(|t| t.result);
                item
            }
            _ => self.plain(node),
        }
    }

    /// A node of any kind, field by field.
    fn plain(&mut self, node: &Node<'_>) -> Item {
        let mut item = Item::new(node.tag);
        let (mut type_oid, mut collation) = (None, CollationId::INVALID);
        for (name, value) in &node.fields {
            match value {
                Value::Word(word) => {
                    self.word(&mut item, name, word);
                    if let Ok(oid) = word.parse::<ObjectId>() {
                        match kind_of(name) {
                            Some(Kind::Type) => {
                                type_oid = Some(self.counterparts.type_of(oid.into()));
                            }
                            Some(Kind::Collation) => collation = oid.into(),
                            None => {}
                        }
                    }
                }
                Value::List(list) => {
                    self.oids(&mut item, name, list);
                    if !LEFT_OUT.contains(name) {
                        self.value(value, &mut item.kids);
                    }
                }
                Value::Node(_) if !LEFT_OUT.contains(name) => self.value(value, &mut item.kids),
                _ => {}
            }
        }
        item.result = type_oid.map(|oid| (oid, collation));
        self.complete(&mut item, node);
        item
    }

    /// What is special about some kinds.
    fn complete(&mut self, item: &mut Item, node: &Node<'_>) {
        match node.tag {
            "FUNCEXPR" => item.cast = matches!(node.word("funcformat"), Some("1" | "2")),
            "COERCEVIAIO" | "COERCETODOMAIN" | "CONVERTROWTYPEEXPR" => {
                item.cast = true;
                if let Some((type_oid, _)) = item.result {
                    item.mark("to", type_oid);
                }
            }
            "COLLATEEXPR" | "TARGETENTRY" | "SUBLINK" => {
                item.result = item.kids.last().and_then(|kid| kid.result);
            }
            "FIELDSELECT" => {
                let own: Option<TypeId> = node.node("arg").and_then(|arg| {
                    arg.fields.iter().find_map(|(name, value)| match (kind_of(name), value) {
                        (Some(Kind::Type), Value::Word(word)) => word.parse().ok(),
                        _ => None,
                    })
                });
                let number = node.number("fieldnum").unwrap_or_default();
                match self.counterparts.field(own.unwrap_or_default(), number) {
                    Some(number) => item.mark("field", number),
                    None => item.mark("new field", number),
                }
            }
            "PARAM" => {
                let is_sublink = node.word("paramkind") == Some("2");
                item.mark("param", if is_sublink { SUBLINK } else { "extern" });
                item.mark("id", node.word("paramid").unwrap_or_default());
            }
            "JOINEXPR" if matches!(node.field("usingClause"), Some(Value::List(_))) => {
                item.mark(USING, "");
            }
            _ => {}
        }
    }

    /// A field that is a word.
    fn word(&self, item: &mut Item, name: &str, word: &str) {
        if MARKS.contains(&name) {
            item.mark(name, word);
            return;
        }
        let Ok(oid) = word.parse::<ObjectId>() else { return };
        match name {
            "opno" | "eqop" | "sortop" => item.calls.push((Class::Operator, oid)),
            "funcid" | "aggfnoid" | "winfnoid" | "startInRangeFunc" | "endInRangeFunc"
            | "tsmhandler" => {
                let function = self.counterparts.function(oid.into());
                item.calls.push((Class::Function, function.into()));
            }
            "inputcollid" | "inRangeColl" => item.collations.push(oid.into()),
            "relid" | "seqid" => item.mark(name, self.counterparts.relation(oid.into())),
            _ => {}
        }
    }

    /// A field that is a list of OIDs.
    fn oids(&self, item: &mut Item, name: &str, list: &[Value<'_>]) {
        let oids = list.iter().filter_map(|value| match value {
            Value::Word(word) => word.parse::<ObjectId>().ok(),
            _ => None,
        });
        match name {
            "opnos" => item.calls.extend(oids.map(|oid| (Class::Operator, oid))),
            "opfamilies" => item.calls.extend(oids.map(|oid| (Class::Family, oid))),
            "inputcollids" => item.collations.extend(oids.map(CollationId::from)),
            _ => {}
        }
    }

    /// A column: of which relation, and which.
    fn variable(&mut self, node: &Node<'_>) -> Item {
        let mut item = Item::new("VAR");
        let number = |name| node.number::<usize>(name).unwrap_or_default();
        let (varno, above) = (number("varno"), number("varlevelsup"));
        let attno: i16 = node.number("varattno").unwrap_or_default();
        let scope = self.scopes.len().checked_sub(above + 1).and_then(|at| self.scopes.get(at));
        let entry = scope.and_then(|scope| scope.get(varno.checked_sub(1)?));
        item.mark("of", format!("{above}.{varno}"));
        match entry {
            Some(Entry { relation: Some(relation), .. }) => {
                match self.counterparts.column(*relation, attno) {
                    Some(attno) => item.mark("column", attno),
                    None => item.mark("new column", attno),
                }
            }
            // Columns of a function that returns a row are those of its type.
            Some(Entry { kind: FUNCTION, .. }) => {}
            _ => item.mark("column", attno),
        }
        item.result = Some((
            self.counterparts.type_of(node.number("vartype").unwrap_or_default()),
            node.number("varcollid").unwrap_or_default(),
        ));
        item
    }

    /// A constant: its type, and its bytes where they are always the same for one value. The types of
    /// users may have more than one form.
    fn constant(&mut self, node: &Node<'_>) -> Item {
        let mut item = Item::new("CONST");
        let type_oid: TypeId = node.number("consttype").unwrap_or_default();
        let mapped = self.counterparts.type_of(type_oid);
        item.mark("type", mapped);
        item.result = Some((mapped, node.number("constcollid").unwrap_or_default()));
        match node.field("constvalue") {
            Some(Value::Datum(bytes)) if type_oid < FIRST_OF_USERS => {
                let value = match held_oid(bytes) {
                    Some(oid) if type_oid == REGCLASS => {
                        self.counterparts.relation(oid.into()).to_string()
                    }
                    Some(oid) if type_oid == REGTYPE => {
                        self.counterparts.type_of(oid.into()).to_string()
                    }
                    Some(oid) if REGPROC.contains(&type_oid) => {
                        self.counterparts.function(oid.into()).to_string()
                    }
                    _ => bytes.join("."),
                };
                item.mark("value", value);
            }
            Some(Value::Datum(_)) => {}
            _ => item.mark("null", ""),
        }
        item
    }

    /// A cast that changes no bit: what is cast, seen as the other type.
    fn relabel(&mut self, node: &Node<'_>) -> Item {
        let mut kids = Vec::new();
        if let Some(arg) = node.field("arg") {
            self.value(arg, &mut kids);
        }
        let item = kids.pop().unwrap_or_else(|| Item::new(node.tag));
        item.seen_as(self.result_of_cast(node))
    }

    fn result_of_cast(&self, node: &Node<'_>) -> Option<(TypeId, CollationId)> {
        let type_oid = self.counterparts.type_of(node.number("resulttype")?);
        Some((type_oid, node.number("resultcollid").unwrap_or_default()))
    }

    /// A cast of an array. The server prints it behind an ARRAY[…] and reads it as casts of the
    /// elements.
    fn array_cast(&mut self, node: &Node<'_>) -> Item {
        let (mut array, mut element) = (Vec::new(), Vec::new());
        for (field, kids) in [("arg", &mut array), ("elemexpr", &mut element)] {
            if let Some(value) = node.field(field) {
                self.value(value, kids);
            }
        }
        let result = self.result_of_cast(node);
        let (Some(array), Some(element)) = (array.pop(), element.pop()) else {
            return Item::new(node.tag);
        };
        if array.what == "ARRAYEXPR" {
            let mut array = cast_elements(array, &element);
            array.result = result;
            return array;
        }
        if element.what == PLACE {
            return array.seen_as(result);
        }
        Item { result, cast: true, kids: vec![array, element], ..Item::new(node.tag) }
    }
}

/// A cast to a length that was made already is none. The server adds one where it reads a call of the cast's
/// function below a cast to a domain.
fn once(mut call: Item) -> Item {
    let is_twice = call.cast
        && call.kids.len() > 1
        && call.kids.first().is_some_and(|inner| {
            inner.what == call.what
                && inner.calls == call.calls
                && inner.kids.get(1) == call.kids.get(1)
        });
    if is_twice { Item { result: call.result, ..call.kids.swap_remove(0) } } else { call }
}

/// What stands for the element in the cast of an array's elements.
const PLACE: &str = "CASETESTEXPR";

/// ARRAY[…] with its elements cast.
fn cast_elements(array: Item, cast: &Item) -> Item {
    let kids = array.kids.into_iter().map(|element| match element.what.as_str() {
        "ARRAYEXPR" => cast_elements(element, cast),
        _ => fill(cast, &element),
    });
    Item { kids: kids.collect(), ..array }
}

/// A cast of an element, with the element in its place.
fn fill(cast: &Item, element: &Item) -> Item {
    if cast.what == PLACE {
        return element.clone().seen_as(cast.result);
    }
    let kids = cast.kids.iter().map(|kid| fill(kid, element)).collect();
    Item { kids, ..cast.clone() }
}

/// `rtekind` of a function.
const FUNCTION: u8 = 3;

/// The range table of a query.
fn entries(query: &Node<'_>) -> Vec<Entry> {
    let Some(Value::List(table)) = query.field("rtable") else { return Vec::new() };
    let entries = table.iter().map(|value| match value {
        Value::Node(entry) if entry.word("rtekind") == Some("0") => {
            Entry { kind: 0, relation: entry.number("relid") }
        }
        Value::Node(entry) => {
            Entry { kind: entry.number("rtekind").unwrap_or_default(), relation: None }
        }
        _ => Entry { kind: 0, relation: None },
    });
    entries.collect()
}

/// The OID in a constant that holds one: four bytes, the least first, as numbers with a sign.
fn held_oid(bytes: &[&str]) -> Option<ObjectId> {
    let [length, bytes @ ..] = bytes else { return None };
    if *length != "4" {
        return None;
    }
    let bytes: Vec<u8> =
        bytes.iter().take(4).filter_map(|b| b.parse::<i16>().ok()).map(|b| b as u8).collect();
    Some(ObjectId::new(u32::from_le_bytes(bytes.try_into().ok()?)))
}

enum Kind {
    Type,
    Collation,
}

/// What a field says of the node's value.
fn kind_of(field: &str) -> Option<Kind> {
    Some(match field {
        "vartype" | "consttype" | "paramtype" | "aggtype" | "wintype" | "refrestype"
        | "funcresulttype" | "opresulttype" | "resulttype" | "casetype" | "typeId"
        | "array_typeid" | "row_typeid" | "coalescetype" | "minmaxtype" | "type" => Kind::Type,
        "varcollid" | "constcollid" | "paramcollid" | "aggcollid" | "wincollid" | "refcollid"
        | "funccollid" | "opcollid" | "resultcollid" | "casecollid" | "collation"
        | "array_collid" | "coalescecollid" | "minmaxcollid" => Kind::Collation,
        _ => return None,
    })
}
