use std::io::Write as _;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::*;

#[derive(Debug, Parser)]
#[command(name = "ackonce")]
struct Program {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(Serve),
    Other,
}

#[derive(Debug, Args)]
struct Serve {
    /// Needed
    #[arg(long)]
    listen: String,
    #[arg(long, value_parser = humantime::parse_duration, default_value = "24h")]
    window: Duration,
    #[arg(long)]
    max_bytes: Option<u32>,
    #[arg(long, value_enum, default_value_t = Mode::Fast)]
    mode: Mode,
    #[arg(long, value_delimiter = ',')]
    id: Vec<String>,
    #[command(flatten)]
    sources: Sources,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Fast,
    Slow,
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn serve(arguments: &[&str]) -> Result<(Serve, EffectiveSettings), String> {
    let all = ["ackonce", "serve"].iter().chain(arguments);
    match parse::<Program>(all) {
        Ok(Layered { program: Program { verb: Verb::Serve(serve) }, settings }) => Ok((serve, settings)),
        Ok(other) => panic!("{other:?}"),
        Err(Stop::Refused(refusal)) => Err(format!("{} {refusal}", refusal.exit_code())),
        Err(Stop::Clap(error)) => panic!("{error}"),
    }
}

fn with_file(text: &str, more: &[&str]) -> Result<(Serve, EffectiveSettings), String> {
    let file = file(text);
    let path = file.path().to_str().unwrap();
    serve(&[&["--config", path], more].concat()).map_err(|error| error.replace(path, "FILE"))
}

#[test]
fn a_flag_goes_over_the_file_and_the_file_over_the_default() {
    let text = "listen = 'a'\nwindow = '1h'\nmax_bytes = 5\nid = ['x', 'y']";
    let (serve, settings) = with_file(text, &["--window", "2h"]).unwrap();
    assert_eq!((serve.listen.as_str(), serve.window.as_secs(), serve.max_bytes), ("a", 7200, Some(5)));
    assert_eq!((serve.id, serve.mode), (vec!["x".to_owned(), "y".to_owned()], Mode::Fast));
    let origin = |name: &str| settings.get(name).unwrap().origin.to_string();
    assert!(origin("listen").starts_with("file /"), "{}", origin("listen"));
    assert_eq!((origin("window").as_str(), origin("mode").as_str()), ("flag", "default"));
    assert_eq!(settings.get("id").unwrap().value, "x, y");
    assert!(settings.is_set("max-bytes") && !settings.is_set("mode"));
    assert!(settings.get("config").is_none() && settings.get("check").is_none());
}

#[test]
fn each_fault_of_a_file_is_one_sentence_with_the_key_and_the_fix() {
    for (text, sentence) in [
        ("windwo = '1h'", "no setting has the name `windwo`; the nearest one is `window`"),
        ("zzz = 1", "no setting has the name `zzz`; there are listen, window, max-bytes, mode, id"),
        ("check = true", "no setting has the name `check`; there are listen, window, max-bytes, mode, id"),
        ("window = '1'", "invalid value '1' for 'window': time unit needed"),
        ("mode = 'slwo'", "invalid value 'slwo' for 'mode' [possible values: fast, slow]"),
        ("max-bytes = -1", "invalid value '-1' for 'max-bytes'"),
        ("listen = ['a', 'b']", "`listen` is a list, where one value can be"),
        ("[serve]\nlisten = 'a'", "`serve` is a table; all settings are at the top level of the file"),
        ("max-bytes = 1\nmax_bytes = 2", "is given twice"),
        ("a = 1\nb = = 's3cret'", ", line 2: "),
    ] {
        let error = with_file(text, &["--listen", "a"]).unwrap_err();
        assert!(error.starts_with("2 --config: FILE") && error.contains(sentence), "{text}: {error}");
        assert!(!error.contains('\n') && !error.contains("s3cret"), "{error}");
    }
    // A fault counts where a flag goes over it, too.
    assert!(with_file("window = 'x'", &["--listen", "a", "--window", "1h"]).is_err());
}

#[test]
fn a_file_that_is_not_there_is_a_fault_of_the_environment() {
    let error = serve(&["--listen", "a", "--config", "/nowhere/a.toml"]).unwrap_err();
    assert!(error.starts_with("3 --config: the file /nowhere/a.toml cannot be read"), "{error}");
}

#[test]
fn a_fault_of_the_command_line_is_one_sentence() {
    let error = serve(&["--listen", "a", "--windwo", "1h"]).unwrap_err();
    assert_eq!(error, "2 unexpected argument '--windwo' found; the nearest one is --window");
    let error = serve(&[]).unwrap_err();
    assert_eq!(
        error,
        "2 the following required arguments were not provided: --listen <LISTEN>; set them as flags, as variables \
         ACKONCE_NAME, or in the file of --config"
    );
    let error = serve(&["--listen", "a", "--mode", "x"]).unwrap_err();
    assert_eq!(error, "2 invalid value 'x' for '--mode <MODE>' [possible values: fast, slow]");
}

#[test]
fn help_and_subcommands_without_layers_are_claps_own() {
    let help = parse::<Program>(["ackonce", "serve", "--help"]).unwrap_err();
    let Stop::Clap(help) = help else { panic!("{help}") };
    assert!(help.to_string().contains("ACKONCE_MAX_BYTES"), "{help}");
    let other = parse::<Program>(["ackonce", "other"]).unwrap();
    assert!(matches!(other.program.verb, Verb::Other) && other.settings.iter().next().is_none());
    let Err(Stop::Refused(refusal)) = parse::<Program>(["ackonce", "othr"]) else {
        panic!("it is no command")
    };
    assert_eq!(refusal.to_string(), "unrecognized subcommand 'othr'; the nearest one is other");
}

#[test]
fn the_report_has_a_line_for_each_setting() {
    let (_, settings) = serve(&["--listen", "postgres://u:s3cret@h/d"]).unwrap();
    let report = settings.to_string();
    let lines: Vec<_> = report.lines().filter(|line| !line.starts_with("note")).collect();
    assert_eq!(lines.len(), 5, "{report}");
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["listen", "postgres://u:***@h/d", "flag"]);
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["max-bytes", "(none)", "default"]);
}
