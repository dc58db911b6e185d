//! Tests of the statements against a server.

mod model;
mod plans;
