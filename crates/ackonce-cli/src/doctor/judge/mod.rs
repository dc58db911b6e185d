//! From facts to findings, subject by subject.

pub(super) mod amqp;
pub(super) mod kafka;
pub(super) mod letters;
pub(super) mod messages;
pub(super) mod postgres;
pub(super) mod redis;
pub(super) mod settings;
pub(super) mod sqlite;
pub(super) mod webhook;
