//! A verb a file, as users type it.

pub(crate) mod backfill;
pub(crate) mod blockers;
pub(crate) mod check;
pub(crate) mod eta;
pub(crate) mod finish;
pub(crate) mod make_way;
pub(crate) mod pause;
pub(crate) mod prepare;
pub(crate) mod readable;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod swap;
pub(crate) mod swap_notice;
pub(crate) mod update;
pub(crate) mod verify;
