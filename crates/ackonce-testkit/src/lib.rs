#![doc = include_str!("../README.md")]

pub mod audit;
pub mod conformance;
pub mod crash;
mod faulty;
pub mod histories;
pub mod inspection;
pub mod ledger;
pub mod lines;
pub mod network;
pub mod proxy;
pub mod seed;
pub mod servers;
mod suite;

pub use faulty::{Fault, FaultyStore, Injected, Rates};
