#![doc = include_str!("../README.md")]

pub mod body;
pub mod edge;
pub mod problem;
