//! The screen, drawn for whichever size the terminal has.

use std::time::Duration;

use ackonce::store::span;
use ackonce_console::snapshot::{RunningMessageView, Snapshot, StateCounts};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Row, Sparkline, Table, Wrap};

use super::view::{View, shows_program};

/// The width of a figure with its name.
const FIGURE: u16 = 11;
const HELP: &str = "q  quit\np  pause, and go on\n?  these keys";

pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    if area.width < 20 || area.height < 5 {
        frame.render_widget(Paragraph::new("the terminal is too small").wrap(Wrap { trim: true }), area);
        return;
    }
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(area);
    frame.render_widget(heading(view), head);
    match &view.state {
        None => frame.render_widget(Paragraph::new(waiting(view)).wrap(Wrap { trim: true }), body),
        Some(state) => contents(frame, body, view, state),
    }
    let keys = if area.width < 40 { "q quit  p pause  ?" } else { "q quit   p pause   ? help" };
    frame.render_widget(Line::from(keys).dim(), foot);
    if view.help {
        let lines = u16::try_from(HELP.lines().count()).unwrap_or(u16::MAX);
        let place = area.centered(Constraint::Length(26), Constraint::Length(lines + 2));
        frame.render_widget(Clear, place);
        frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title(" Keys ")), place);
    }
}

fn waiting(view: &View) -> String {
    view.trouble.clone().unwrap_or_else(|| "asking…".to_owned())
}

fn heading(view: &View) -> Line<'static> {
    let mut line = vec!["ackonce watch".bold()];
    if let Some(state) = &view.state {
        if let Some(program) = &state.program {
            line.push(format!("  {}", program.name).into());
            line.push(if program.live { "  live".green() } else { "  not live".red().bold() });
            line.push(if program.ready { "  ready".green() } else { "  not ready".yellow() });
        }
        line.push(format!("  {}", plain(&state.store.name)).dim());
    }
    if view.paused {
        line.push("  paused".yellow().bold());
    }
    Line::from(line)
}

fn contents(frame: &mut Frame<'_>, area: Rect, view: &View, state: &Snapshot) {
    let trouble = view.trouble.as_ref().or(state.store.trouble.as_ref());
    let figures = figures(view, state);
    // Two lines for each figure that does not fit beside the others.
    let across = usize::from(area.width / FIGURE).max(1);
    let rows = u16::try_from(figures.len().div_ceil(across)).unwrap_or(1);
    let [warning, numbers, course, rest] = Layout::vertical([
        Constraint::Length(u16::from(trouble.is_some())),
        Constraint::Length((rows * 2).min(area.height)),
        Constraint::Length(if area.height >= 18 { 3 } else { 0 }),
        Constraint::Min(0),
    ])
    .areas(area);
    if let Some(trouble) = trouble {
        frame.render_widget(Line::from(plain(trouble)).red().bold(), warning);
    }
    for (row, figures) in figures.chunks(across).enumerate() {
        let row = u16::try_from(row).unwrap_or(u16::MAX);
        let line = Rect { y: numbers.y.saturating_add(row * 2), height: 2, ..numbers }.intersection(numbers);
        let places = Layout::horizontal(vec![Constraint::Length(FIGURE); figures.len()]).split(line);
        for ((name, value, style), place) in figures.iter().zip(places.iter()) {
            let text = vec![Line::from(*name).dim(), Line::from(Span::styled(value.clone(), *style))];
            frame.render_widget(Paragraph::new(text), *place);
        }
    }
    if course.height > 0 {
        let values: Vec<u64> =
            view.course.iter().rev().take(usize::from(course.width)).rev().copied().collect();
        let title = if shows_program(state) { "Completed, each second" } else { "Done, growth each second" };
        frame.render_widget(
            Sparkline::default().data(values).block(Block::new().borders(Borders::TOP).title(title)),
            course,
        );
    }
    tables(frame, rest, state);
}

type Figure = (&'static str, String, Style);

fn figures(view: &View, state: &Snapshot) -> Vec<Figure> {
    let (bold, rates) = (Style::new().add_modifier(Modifier::BOLD), view.rates());
    let rate = |of: fn(&super::view::Rates) -> f64| {
        rates.as_ref().map_or_else(|| "–".to_owned(), |r| per_second(of(r)))
    };
    let alarm = |value: u64, style: Style| if value > 0 { style } else { bold };
    let total = state.store.answer.as_ref().map(|answer| answer.total);
    let buried = total.map_or(0, |total| total.buried);
    let count = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), number);
    let mut figures: Vec<Figure> = Vec::new();
    if shows_program(state) {
        let in_flight = state.runners.iter().map(|runner| runner.in_flight).sum();
        figures.push(("Completed", rate(|r| r.completed), bold.green()));
        figures.push(("Duplicates", rate(|r| r.duplicate), bold));
        let failing = rates.is_some_and(|rates| rates.failed > 0.0);
        figures.push(("Failures", rate(|r| r.failed), if failing { bold.red() } else { bold }));
        figures.push(("In flight", number(in_flight), bold));
        figures.push(("Running", number(state.running.total), bold));
        if let Some(lag) = state.program.as_ref().and_then(|program| program.lag) {
            figures.push(("Lag", number(lag), bold));
        }
    } else {
        figures.push(("Done", rate(|r| r.completed), bold.green()));
        figures.push(("Claimed", count(total.map(|total| total.claimed)), bold));
        figures.push(("Waiting", count(total.map(|total| total.released)), bold));
        figures.push(("Remembered", count(total.map(|total| total.sum())), bold));
    }
    figures.push(("Buried", count(total.map(|total| total.buried)), alarm(buried, bold.red())));
    figures
}

fn tables(frame: &mut Frame<'_>, area: Rect, state: &Snapshot) {
    let scopes = state.store.answer.as_ref().map_or(0, |answer| answer.scopes.len());
    // Scopes have a row each, in half of the place at most.
    let wanted = u16::try_from(scopes + 2).unwrap_or(u16::MAX);
    let below = if area.height >= 9 { wanted.min(area.height / 2) } else { 0 };
    let [running, by_scope] = Layout::vertical([Constraint::Min(0), Constraint::Length(below)]).areas(area);
    messages(frame, running, state);
    if by_scope.height > 0 {
        records(frame, by_scope, state);
    }
}

fn messages(frame: &mut Frame<'_>, area: Rect, state: &Snapshot) {
    let title = format!("Running now: {}", number(state.running.total));
    let block = Block::new().borders(Borders::TOP).title(title);
    if state.running.messages.is_empty() {
        let none = if state.running.total > 0 { "only their number is known" } else { "no message runs" };
        frame.render_widget(Paragraph::new(none.dim()).block(block), area);
        return;
    }
    let narrow = area.width < 60;
    let row = |message: &RunningMessageView| {
        let age = span(Duration::from_millis(message.age_ms));
        let id = plain(message.id.as_deref().unwrap_or("(name not kept)"));
        let scope = plain(message.scope.as_deref().unwrap_or_default());
        match narrow {
            true => Row::new([age, id]),
            false => Row::new([age, scope, id, number(u64::from(message.attempt))]),
        }
    };
    let rows: Vec<_> = state.running.messages.iter().take(usize::from(area.height)).map(row).collect();
    let (widths, head) = match narrow {
        true => (vec![Constraint::Length(11), Constraint::Fill(1)], vec!["Age", "Message ID"]),
        false => (
            vec![Constraint::Length(12), Constraint::Fill(2), Constraint::Fill(3), Constraint::Length(7)],
            vec!["Age", "Scope", "Message ID", "Attempt"],
        ),
    };
    frame.render_widget(Table::new(rows, widths).header(Row::new(head).dim()).block(block), area);
}

fn records(frame: &mut Frame<'_>, area: Rect, state: &Snapshot) {
    let Some(answer) = &state.store.answer else { return };
    let narrow = area.width < 60;
    let row = |scope: Option<&str>, counts: StateCounts| {
        let scope = plain(scope.unwrap_or("(names not kept)"));
        match narrow {
            true => Row::new([scope, number(counts.claimed), number(counts.buried)]),
            false => Row::new([
                scope,
                number(counts.claimed),
                number(counts.released),
                number(counts.done),
                number(counts.buried),
            ]),
        }
    };
    let rows: Vec<_> = answer
        .scopes
        .iter()
        .take(usize::from(area.height))
        .map(|s| row(s.scope.as_deref(), s.counts))
        .collect();
    let (columns, head) = match narrow {
        true => (2, vec!["Scope", "Claimed", "Buried"]),
        false => (4, vec!["Scope", "Claimed", "Released", "Done", "Buried"]),
    };
    let mut widths = vec![Constraint::Fill(1)];
    widths.extend(std::iter::repeat_n(Constraint::Length(if narrow { 8 } else { 13 }), columns));
    let block = Block::new().borders(Borders::TOP).title("Records by scope");
    frame.render_widget(Table::new(rows, widths).header(Row::new(head).dim()).block(block), area);
}

/// Text of a sender, without the characters that a terminal obeys.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

fn per_second(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

/// `1,234`.
fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
