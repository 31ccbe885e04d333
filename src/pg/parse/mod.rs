//! The server's scanner, parser and deparser for what users write: `changes` and mappings.
