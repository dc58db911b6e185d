//! Tests of the statements against a server.

mod histories;
mod planned_once;
mod plans;
