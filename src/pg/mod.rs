//! All hand-written `unsafe` of the extension: the server's C interface behind safe functions.
#![allow(unsafe_code)]

pub mod parse;
