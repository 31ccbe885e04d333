//! Writers that journal what they do, so that a lost write can be counted.
