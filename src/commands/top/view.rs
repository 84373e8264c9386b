//! The screen: readable at 60 columns and 24 lines, and with more of both there is more to see. Below 80 columns the
//! queues in memory leave the screen, but for those that are nearly full.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, Wrap};

use super::model::Picture;
use super::tables::{self, Cell};

/// Name, rate and three quantiles, as wide as they get.
const TIMED: [Constraint; 5] =
    [Constraint::Min(15), Constraint::Length(7), Constraint::Length(6), Constraint::Length(6), Constraint::Length(6)];
/// What a table of times leaves out when it has not this width: p90 first, then p50.
const LEFT_OUT: [(u16, usize); 2] = [(44, 3), (37, 2)];
/// Below this width everything stands under each other.
const WIDE: u16 = 80;

/// What is shown.
pub struct Screen<'a> {
    pub url: &'a str,
    /// The last one that there was.
    pub picture: Option<&'a Picture>,
    /// When it was, as a clock shows it.
    pub at: &'a str,
    /// Since when there is no newer one, and why.
    pub trouble: Option<(&'a str, &'a str)>,
}

/// Draws everything anew.
pub fn draw(frame: &mut Frame<'_>, screen: &Screen<'_>) {
    let is_wide = frame.area().width >= WIDE;
    let (process_lines, outcome_lines, least_times) = if is_wide { (1, 2, 8) } else { (2, 3, 6) };
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(process_lines),
        Constraint::Length(outcome_lines),
        Constraint::Min(least_times),
        Constraint::Length(12),
    ]);
    let [head, process, outcomes, times, state] = areas.areas(frame.area());
    draw_head(frame, head, screen, is_wide);
    if let Some((since, reason)) = screen.trouble {
        frame.render_widget(Span::styled(format!("unreachable since {since}: {reason}"), alarm()), process);
    }
    let Some(picture) = screen.picture else { return };
    // What is not true any more is shown as such.
    let style = if screen.trouble.is_some() { Style::new().add_modifier(Modifier::DIM) } else { Style::new() };
    if screen.trouble.is_none() {
        let nearly_full = tables::queues(picture).into_iter().filter(|[_, level]| !is_wide && level.alarms);
        let all = tables::process(picture).into_iter().map(|(name, cell)| (name.to_owned(), cell));
        let all = all.chain(nearly_full.map(|[name, level]| (name.text, level)));
        frame.render_widget(Paragraph::new(Line::from(facts(all, ""))).wrap(Wrap { trim: true }), process);
    }
    let all = picture.requests_per_second.map_or(String::new(), |rate| format!("{}/s: ", super::words::rate(rate)));
    let mut line =
        vec![Span::styled("requests ", title()), Span::styled(all, Style::new().add_modifier(Modifier::BOLD))];
    line.extend(facts(tables::outcomes(picture).into_iter(), "/s"));
    frame.render_widget(Paragraph::new(Line::from(line)).wrap(Wrap { trim: true }).style(style), outcomes);
    let halves = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).spacing(2);
    let [left, right] = halves.areas(times);
    frame.render_widget(timed("route", &tables::timed(&picture.routes), left.width).style(style), left);
    frame.render_widget(timed("stage", &tables::timed(&picture.stages), right.width).style(style), right);
    if !is_wide {
        frame.render_widget(databases(picture).style(style), state);
        return;
    }
    let [left, right] = Layout::horizontal([Constraint::Min(54), Constraint::Length(24)]).spacing(2).areas(state);
    frame.render_widget(databases(picture).style(style), left);
    frame.render_widget(queues(picture).style(style), right);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, screen: &Screen<'_>, is_wide: bool) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let version = screen.picture.and_then(|picture| picture.version.as_deref()).unwrap_or_default();
    let mut line = vec![Span::styled(format!("weir {version}"), bold), Span::raw(format!(" at {}  ", screen.url))];
    match (screen.trouble, screen.picture) {
        (None, Some(picture)) => line.push(span(&tables::state(picture), "")),
        (None, None) => line.push(Span::raw("…")),
        (Some(_), _) => {}
    }
    let keys = if is_wide { format!("{}  q quits", screen.at) } else { "q quits".to_owned() };
    let width = u16::try_from(keys.chars().count()).unwrap_or(u16::MAX);
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).spacing(1).areas(area);
    frame.render_widget(Paragraph::new(Line::from(line)), left);
    frame.render_widget(Paragraph::new(Span::styled(keys, Style::new().add_modifier(Modifier::DIM))), right);
}

fn facts(facts: impl Iterator<Item = (String, Cell)>, unit: &str) -> Vec<Span<'static>> {
    facts
        .flat_map(|(name, cell)| [Span::styled(format!("{name}\u{a0}"), title()), span(&cell, &format!("{unit}  "))])
        .collect()
}

fn timed(what: &'static str, rows: &[[Cell; 5]], width: u16) -> Table<'static> {
    let has_room = move |column: &usize| LEFT_OUT.iter().all(|(least, left_out)| width >= *least || column != left_out);
    // Numbers stand under their names, to the right.
    let aligned = |column: usize, line: Line<'static>| if column == 0 { line } else { line.right_aligned() };
    let row = |cells: [Span<'static>; 5]| {
        let shown = cells.into_iter().enumerate().filter(|(column, _)| has_room(column));
        Row::new(shown.map(|(column, cell)| aligned(column, Line::from(cell))).collect::<Vec<_>>())
    };
    let head = row([what, "/s", "p50", "p90", "p99"].map(Span::from)).style(title());
    let widths = TIMED.into_iter().enumerate().filter(|(column, _)| has_room(column)).map(|(_, width)| width);
    Table::new(rows.iter().map(|cells| row(cells.each_ref().map(|cell| span(cell, "")))), widths).header(head)
}

fn databases(picture: &Picture) -> Table<'static> {
    let columns: Vec<_> = picture.databases.iter().map(tables::database).collect();
    let names = std::iter::once(String::new()).chain(picture.databases.iter().map(|database| database.name.to_owned()));
    let rows = tables::OF_DATABASE.iter().enumerate().map(|(number, what)| {
        let cells = columns.iter().map(|column| span(&column[number], ""));
        Row::new(std::iter::once(Span::styled(*what, title())).chain(cells))
    });
    let widths = [Constraint::Length(12), Constraint::Fill(1), Constraint::Fill(1)];
    Table::new(rows, widths).header(Row::new(names).style(title()))
}

fn queues(picture: &Picture) -> Table<'static> {
    let rows = tables::queues(picture)
        .into_iter()
        .map(|[name, level]| Row::new([Span::styled(name.text, title()), span(&level, "")]));
    Table::new(rows, [Constraint::Length(12), Constraint::Fill(1)]).header(Row::new(["in memory", ""]).style(title()))
}

fn span(cell: &Cell, unit: &str) -> Span<'static> {
    let style = if cell.alarms { alarm() } else { Style::new() };
    Span::styled(format!("{}{unit}", cell.text), style)
}

fn title() -> Style {
    Style::new().fg(Color::Cyan)
}

fn alarm() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}
