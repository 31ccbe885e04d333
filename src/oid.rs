//! OIDs, each with the type of its catalog. Blocks, lines and transactions have a name for their number only.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

/// What is an OID, as no bare number is.
pub(crate) trait Oid: Into<pg_sys::Oid> {}

impl Oid for pg_sys::Oid {}

/// Types around one number, which is stored and printed as it is. The default is InvalidOid.
macro_rules! kinds {
    ($($(#[$says:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$says])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub(crate) struct $name(u32);

        #[allow(dead_code, reason = "not every kind needs all of them")]
        impl $name {
            /// InvalidOid: none.
            pub(crate) const INVALID: Self = Self(0);

            /// Takes a number that is known to be of this kind.
            pub(crate) const fn new(number: u32) -> Self {
                Self(number)
            }

            /// The bare number.
            pub(crate) const fn get(self) -> u32 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                text.parse().map(Self)
            }
        }

        impl Oid for $name {}

        /// For elements of a bigint[].
        impl From<$name> for i64 {
            fn from(id: $name) -> Self {
                Self::from(id.0)
            }
        }

        impl From<$name> for pg_sys::Oid {
            fn from(id: $name) -> Self {
                Self::from(id.0)
            }
        }

        impl From<pg_sys::Oid> for $name {
            fn from(oid: pg_sys::Oid) -> Self {
                Self(oid.to_u32())
            }
        }
    )+};
}

/// OIDs of which the catalog is known: each is the OID of some object too, and back where one knows of which.
macro_rules! classes {
    ($($(#[$says:meta])* $name:ident),+ $(,)?) => {
        kinds! { $($(#[$says])* $name),+ }
        $(
            impl From<$name> for ObjectId {
                fn from(id: $name) -> Self {
                    Self(id.0)
                }
            }

            impl From<ObjectId> for $name {
                fn from(object: ObjectId) -> Self {
                    Self(object.0)
                }
            }
        )+
    };
}

kinds! {
    /// An object of any catalog, which is known from elsewhere.
    ObjectId,
    /// `relfilenode`: the file of a relation.
    FileNode,
}

classes! {
    /// `pg_class`: a table, index, sequence or view.
    RelationId,
    /// `pg_authid`.
    RoleId,
    /// `pg_namespace`.
    SchemaId,
    /// `pg_type`.
    TypeId,
    /// `pg_collation`.
    CollationId,
    /// `pg_operator`.
    OperatorId,
    /// `pg_opclass`.
    OperatorClassId,
    /// `pg_proc`.
    FunctionId,
    /// `pg_constraint`.
    ConstraintId,
}

/// An object with its catalog, as `pg_depend` refers to it; stored as `[classid, objid]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ObjectAddress(pub RelationId, pub ObjectId);

/// A block of a relation, or how many there are before it.
pub(crate) type BlockNumber = u32;

/// A line pointer of a block, from 1.
pub(crate) type LineNumber = u32;

/// A transaction, without its epoch.
pub(crate) type TransactionId = u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_stored_as_bare_numbers() {
        let address = ObjectAddress(RelationId::new(1259), ObjectId::new(16384));
        let stored = serde_json::to_string(&(address, RoleId::new(10), [FileNode::default()]));
        assert_eq!(stored.unwrap_or_default(), "[[1259,16384],10,[0]]");
        let read: Result<ObjectAddress, _> = serde_json::from_str("[1259, 16384]");
        assert_eq!(read.ok(), Some(address));
    }

    #[test]
    fn they_are_read_and_printed_as_bare_numbers() {
        assert_eq!("4294967295".parse(), Ok(TypeId::new(u32::MAX)));
        assert!("-1".parse::<TypeId>().is_err());
        assert_eq!(format!("{:>4}", TypeId::new(25)), "  25");
    }
}
