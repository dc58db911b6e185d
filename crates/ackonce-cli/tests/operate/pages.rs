//! The commands of `docs/operate.md` print the output that stands there. `ACKONCE_UPDATE=1` writes it anew.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ackonce_amqp::lapin::BasicProperties;
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_cli::stores::StoreUrl;
use ackonce_tests::amqp::{Kind, Rabbit};

use crate::program::output;
use crate::seeded::{Seeded, WEEK, back_off, bury, complete};

const BLOCK: &str = "```console";
const BROKER: &str = "amqp://guest:guest@localhost:5672/%2f";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate.md")
}

/// Runs a command of the page as a shell does, and returns its output.
fn shell(line: &str, dir: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_ackonce"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(dir).env("PATH", path).env("USER", "ada");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The page with the output of each command in a block that begins with `fence`.
fn rewritten(page: &str, fence: &str, mut run: impl FnMut(&str) -> String) -> String {
    let (mut text, mut lines) = (String::new(), page.lines().peekable());
    let mut push = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    while let Some(line) = lines.next() {
        push(line);
        if line != fence {
            continue;
        }
        while let Some(line) = lines.next_if(|line| *line != "```") {
            let Some(first) = line.strip_prefix("$ ") else { continue };
            push(line);
            let mut command = first.to_owned();
            while command.ends_with('\\') {
                let more = lines.next().unwrap();
                push(more);
                command = format!("{}{}", command.trim_end_matches('\\'), more.trim_start());
            }
            run(&command).lines().for_each(&mut push);
        }
    }
    text
}

/// Without numbers, moments, lengths of time and columns, which differ from run to run.
fn plain(page: &str) -> Vec<String> {
    let units = ["ms", "s", "min", "h", "day", "days", "kB", "bytes"];
    page.lines()
        .map(|line| {
            if line.starts_with('{') {
                let keys: serde_json::Value = serde_json::from_str(line).unwrap();
                return keys.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
            }
            let mut words: Vec<&str> = Vec::new();
            for word in line.split_whitespace() {
                let bare = word.trim_matches(['(', ')', '.', ',', ':', ';']);
                let is_number = bare.starts_with(|c: char| c.is_ascii_digit())
                    && bare.chars().all(|c| c.is_ascii_digit() || "-:.,TZ".contains(c));
                let word = if is_number { "#" } else { word };
                let is_unit = units.contains(&bare) && words.last() == Some(&"#");
                let is_repeated = word == "#" && words.last() == Some(&"#");
                if !is_unit && !is_repeated {
                    words.push(word);
                }
            }
            words.join(" ")
        })
        // A sentence is wrapped elsewhere, where a length of time has another length.
        .collect::<Vec<_>>()
}

fn hold(fence: &str, run: impl FnMut(&str) -> String) {
    let path = page();
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written.contains(fence), "no block {fence}");
    let real = rewritten(&written, fence, run);
    if std::env::var_os("ACKONCE_UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, real).unwrap();
        return;
    }
    let (written, real) = (plain(&written).join(" "), plain(&real).join(" "));
    let differs = written.split(' ').zip(real.split(' ')).position(|(a, b)| a != b);
    let at = |text: &str| {
        let from = differs.unwrap_or(0).saturating_sub(10);
        text.split(' ').skip(from).take(30).collect::<Vec<_>>().join(" ")
    };
    assert!(written == real, "the page has\n{}\nand the program prints\n{}", at(&written), at(&real));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_print_the_output_of_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dedup.db");
    let url = format!("sqlite:{}?names=keep", file.display());
    output(&["schema", "--apply", "--yes", "--store", &url]);
    let store = url.parse::<StoreUrl>().unwrap().open().await.unwrap();
    let store = Seeded::of(url, store);
    store.ended("evt_1", complete()).await;
    store.ended("evt_2", bury("card declined: 402")).await;
    store.ended("evt_3", bury("the bank is away")).await;
    store.ended("evt_4", bury("the bank is away")).await;
    store.ended("evt_5", back_off(Duration::from_secs(600))).await;
    store.claim("evt_6", Duration::from_secs(600), WEEK).await;
    let seen = "scope,id,time\nmail/send-receipt,evt_1,\nmail/send-receipt,evt_2,24h\n";
    std::fs::write(dir.path().join("seen.csv"), seen).unwrap();
    hold(BLOCK, |line| shell(line, dir.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_on_dead_letters_do_so_too() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) =
        (rabbit.queue("pages", Kind::Classic).await, rabbit.queue("pages-dead", Kind::Classic).await);
    let admin = rabbit.connect().await;
    for (id, reason) in [("evt_2", "card declined: 402"), ("evt_3", "the bank is away")] {
        let fence = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut table = FieldTable::default();
        for (name, value) in [
            ("ackonce-scope", text("billing")),
            ("ackonce-message-id", text(id)),
            ("ackonce-error", text(reason)),
            ("ackonce-queue", text(&queue)),
            ("ackonce-burial", text(&format!("{:032x}-{fence}-0", 7))),
            ("ackonce-attempts", AMQPValue::LongLongInt(15)),
        ] {
            table.insert(name.into(), value);
        }
        let properties = BasicProperties::default().with_message_id(id.into()).with_headers(table);
        admin.publish_with(&dead, b"{}", properties).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = |line: &str| {
        let line = line.replace(BROKER, rabbit.url()).replace("orders.dead", &dead);
        let (long, short) = ([&dead, &queue], ["orders.dead", "orders"]);
        let lines = shell(&line, dir.path());
        let renamed = lines.lines().map(|line| {
            // Columns stay as wide as they are.
            let width = |name: &str| if line.starts_with(&dead) { name.len() } else { 0 };
            let names = long.iter().zip(short);
            names.fold(line.to_owned(), |line, (long, short)| {
                line.replace(*long, &format!("{short:0$}", width(long)))
            })
        });
        renamed.map(|line| line + "\n").collect()
    };
    hold("```console rabbitmq", run);
    assert_eq!((admin.ready(&queue).await.0, admin.ready(&dead).await.0), (1, 1));
    admin.delete(&queue).await;
    admin.delete(&dead).await;
}
