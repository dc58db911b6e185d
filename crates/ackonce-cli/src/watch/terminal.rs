//! The terminal: taken, drawn on once a second and at each key, and given back, also after a panic.

use std::io::IsTerminal as _;
use std::time::Duration;

use ackonce::CancellationToken;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use super::screen;
use super::source::Source;
use super::view::{Key, View};
use crate::refusal::Refusal;

/// The interval at which the reader of keys looks whether it is to end: reading cannot be interrupted.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn is_there() -> bool {
    std::io::stdout().is_terminal() && std::io::stdin().is_terminal()
}

/// Shows the states until somebody ends it.
pub(super) async fn show(source: Source, stop: &CancellationToken) -> Result<(), Refusal> {
    let terminal = ratatui::try_init().map_err(|e| {
        Refusal::environment(format!("the terminal cannot be drawn on: {e}; use --once or --json"))
    })?;
    let ended = follow(terminal, source, stop).await;
    ratatui::restore();
    ended.map_err(|e| Refusal::environment(format!("the terminal cannot be drawn on: {e}")))
}

async fn follow(
    mut terminal: DefaultTerminal,
    mut source: Source,
    stop: &CancellationToken,
) -> std::io::Result<()> {
    let (sender, mut keys) = mpsc::channel(16);
    std::thread::Builder::new().name("ackonce-keys".to_owned()).spawn(move || read_keys(&sender))?;
    let mut view = View::default();
    loop {
        terminal.draw(|frame| screen::draw(frame, &view))?;
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            pressed = keys.recv() => match pressed {
                Some(Some(key)) if !view.press(key) => return Ok(()),
                // A terminal without keys has been closed.
                None => return Ok(()),
                // Another size: drawn again.
                _ => {}
            },
            looked = source.next() => match looked {
                Some(looked) => view.take(looked),
                None => return Ok(()),
            },
        }
    }
}

/// Sends keys, and nothing for a new size, until the receiver is gone.
fn read_keys(keys: &mpsc::Sender<Option<Key>>) {
    while !keys.is_closed() {
        let read = match event::poll(LOOK) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let sent = match read {
            Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => match meaning(key) {
                Some(key) => keys.blocking_send(Some(key)),
                None => Ok(()),
            },
            Ok(Event::Resize(..)) => keys.blocking_send(None),
            Ok(_) => Ok(()),
            Err(_) => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

fn meaning(key: KeyEvent) -> Option<Key> {
    match key.code {
        // In this mode the terminal sends no signal for it.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
        KeyCode::Char('p' | ' ') => Some(Key::Pause),
        KeyCode::Char('?' | 'h') => Some(Key::Help),
        _ => None,
    }
}
