//! Store URLs as arguments: an error of clap's own would repeat the URL, and with it a password.

use std::ffi::OsStr;

use clap::builder::{TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use super::StoreUrl;

/// Parses a store's URL; an error names the fault, without the URL.
#[derive(Debug, Clone, Copy)]
pub struct StoreUrlParser;

impl ValueParserFactory for StoreUrl {
    type Parser = StoreUrlParser;

    fn value_parser() -> StoreUrlParser {
        StoreUrlParser
    }
}

impl TypedValueParser for StoreUrlParser {
    type Value = StoreUrl;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<StoreUrl, Error> {
        let parsed = value.to_str().ok_or_else(|| "it is not UTF-8".to_owned());
        parsed.and_then(|text| text.parse().map_err(|e: super::UrlError| e.to_string())).map_err(|why| {
            let flag = arg.map_or_else(|| "the store's URL".to_owned(), ToString::to_string);
            Error::raw(ErrorKind::ValueValidation, format!("{flag}: {why}\n")).with_cmd(cmd)
        })
    }
}
