//! A line is read once it is whole, from any writer and after any end of the writer.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, OpenOptions};
use std::io::Write;

use ackonce_testkit::lines::{self, Reader, Writer};
use tempfile::TempDir;

fn add(path: &std::path::Path, text: &[u8]) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text).unwrap();
}

#[test]
fn a_line_read_in_the_middle_of_its_write_is_not_taken() {
    let whole = b"r1-5-123\nr2-7-9\n";
    for end in 0..=whole.len() {
        let read: Vec<_> = lines::complete(&whole[..end]).collect();
        let expected = match end {
            0..9 => &[][..],
            9..16 => &["r1-5-123"],
            _ => &["r1-5-123", "r2-7-9"],
        };
        assert_eq!(read, expected, "after {end} bytes");
    }
}

#[test]
fn a_reader_takes_a_line_that_comes_in_pieces_once() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let mut reader = Reader::new(&path);
    assert_eq!(reader.catch_up().unwrap(), [""; 0], "not there yet");
    for piece in ["r1", "-5", "-123"] {
        add(&path, piece.as_bytes());
        assert_eq!(reader.catch_up().unwrap(), [""; 0], "half a line");
        assert_eq!(lines::read(&path).unwrap(), [""; 0], "half a line");
        assert!(reader.is_mid_line());
    }
    add(&path, b"\nr2");
    assert_eq!(reader.catch_up().unwrap(), ["r1-5-123"]);
    assert_eq!(lines::read(&path).unwrap(), ["r1-5-123"]);
    add(&path, b"\n");
    assert_eq!(reader.catch_up().unwrap(), ["r2"]);
    assert_eq!((reader.torn(), reader.is_mid_line()), (0, false));
}

#[test]
fn a_line_whose_writer_was_killed_is_not_taken_when_others_follow() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    Writer::open(&path).unwrap().append("12").unwrap();
    // Of "123".
    add(&path, b"12");
    let next = Writer::open(&path).unwrap();
    next.append("124").unwrap();
    let mut reader = Reader::new(&path);
    assert_eq!(reader.catch_up().unwrap(), ["12", "124"]);
    assert_eq!(reader.torn(), 1, "the torn line is counted");
    assert_eq!(lines::complete(&fs::read(&path).unwrap()).collect::<Vec<_>>(), ["12", "124"]);
}

#[test]
fn a_line_that_was_cancelled_before_its_end_came_is_whole() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    // Its writer was still about it when another opened the file: the rest came first.
    add(&path, b"123\n\x18\n124\n");
    let mut reader = Reader::new(&path);
    assert_eq!(reader.catch_up().unwrap(), ["123", "124"]);
    assert_eq!(reader.torn(), 0, "nothing was lost");
}

#[test]
fn bytes_that_are_no_text_are_torn() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    add(&path, b"a\n\xff\xfe\nb\n");
    let mut reader = Reader::new(&path);
    assert_eq!(reader.catch_up().unwrap(), ["a", "b"]);
    assert_eq!(reader.torn(), 1);
}
