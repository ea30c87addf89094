//! Tables: columns as wide as their longest cell, cut with `…` where the terminal is narrower.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::escaped;

/// Between two columns.
const GAP: usize = 2;
/// No column is cut to less, unless it never was wider.
const LEAST: usize = 6;

/// What a column holds, and with that how it is aligned and cut.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Never cut: an id, a word.
    Whole,
    /// Never cut, and to the right.
    Number,
    /// Cut at its end.
    Text,
    /// Cut in its middle: a URL or a host, whose end tells as much.
    Ends,
}

/// A column's title and kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    kind: Kind,
}

impl Column {
    /// Never cut: an id, a word.
    pub(crate) const fn whole(title: &'static str) -> Column {
        Column { title, kind: Kind::Whole }
    }

    /// Never cut, and to the right.
    pub(crate) const fn number(title: &'static str) -> Column {
        Column { title, kind: Kind::Number }
    }

    /// Cut at its end.
    pub(crate) const fn text(title: &'static str) -> Column {
        Column { title, kind: Kind::Text }
    }

    /// Cut in its middle.
    pub(crate) const fn ends(title: &'static str) -> Column {
        Column { title, kind: Kind::Ends }
    }

    fn is_cut(self) -> bool {
        matches!(self.kind, Kind::Text | Kind::Ends)
    }
}

/// Rows under their columns' titles; without any title there is no line of them.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Table {
        let titles: Vec<_> = columns.iter().map(|column| column.title.to_owned()).collect();
        let rows = if titles.iter().all(String::is_empty) { vec![] } else { vec![titles] };
        Table { columns: columns.to_vec(), rows }
    }

    /// Adds a row; what would move a cursor is escaped.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.iter().map(|cell| escaped(cell)).collect());
    }

    /// The lines, at most `most` wide if that can be without cutting what is never cut.
    pub(super) fn lines(&self, most: Option<usize>) -> Vec<String> {
        let widths = self.widths(most);
        let line = |row: &Vec<String>| {
            let cells = self.columns.iter().zip(row).zip(&widths);
            let cells = cells.map(|((column, cell), width)| fit(*column, cell, *width));
            cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    fn widths(&self, most: Option<usize>) -> Vec<usize> {
        let widest = |column: usize| self.rows.iter().map(|row| row[column].width()).max();
        let mut widths: Vec<usize> =
            (0..self.columns.len()).map(|column| widest(column).unwrap_or(0)).collect();
        let Some(most) = most else { return widths };
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > most {
            let wide =
                (0..widths.len()).filter(|i| self.columns[*i].is_cut() && widths[*i] > LEAST);
            let Some(widest) = wide.max_by_key(|i| widths[*i]) else { break };
            widths[widest] -= 1;
        }
        widths
    }
}

/// The cell, cut to the width or filled up to it.
fn fit(column: Column, cell: &str, width: usize) -> String {
    let cut = match column.kind {
        _ if cell.width() <= width => cell.to_owned(),
        Kind::Ends => {
            let end = (width - 1) / 2;
            format!("{}…{}", head(cell, width - 1 - end), tail(cell, end))
        }
        _ => format!("{}…", head(cell, width - 1)),
    };
    let blank = " ".repeat(width.saturating_sub(cut.width()));
    if column.kind == Kind::Number { blank + &cut } else { cut + &blank }
}

/// As many characters from the start as are no wider than `most`.
fn head(text: &str, most: usize) -> &str {
    let mut left = most;
    let end = text.char_indices().find(|(_, c)| {
        let width = c.width().unwrap_or(0);
        let is_over = width > left;
        left = left.saturating_sub(width);
        is_over
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// As many from the end.
fn tail(text: &str, most: usize) -> &str {
    let mut start = text.len();
    let mut left = most;
    for (at, c) in text.char_indices().rev() {
        let width = c.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        start = at;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&[
            Column::whole("id"),
            Column::number("rows"),
            Column::ends("host"),
            Column::text("ref"),
        ]);
        let host = "https://partner.example:8443".to_owned();
        table.row(["abcdefghijkl-0".into(), "7".into(), host, "click\n1".into()]);
        table.row(["b-1".into(), "1234".into(), "a".into(), "広告広告広告広告".into()]);
        table
    }

    #[test]
    fn nothing_is_cut_where_nobody_looks() {
        assert_eq!(
            sample().lines(None),
            [
                "id              rows  host                          ref",
                "abcdefghijkl-0     7  https://partner.example:8443  click\\u{a}1",
                "b-1             1234  a                             広告広告広告広告",
            ]
        );
    }

    #[test]
    fn a_terminal_s_width_is_kept_and_ids_are_whole() {
        assert_eq!(
            sample().lines(Some(50)),
            [
                "id              rows  host           ref",
                "abcdefghijkl-0     7  https:…e:8443  click\\u{a}1",
                "b-1             1234  a              広告広告広告…",
            ]
        );
        for width in 36..120 {
            let lines = sample().lines(Some(width));
            assert!(lines.iter().all(|line| line.width() <= width), "{width}: {lines:?}");
            assert!(lines[1].starts_with("abcdefghijkl-0  "), "{width}");
        }
    }

    #[test]
    fn a_cut_character_is_not_cut_in_two() {
        let check = |kind: fn(&'static str) -> Column, text: &str, width, expect: &str| {
            assert_eq!(fit(kind("x"), text, width), expect);
        };
        check(Column::text, "広告広告", 6, "広告… ");
        check(Column::ends, "広告広告", 7, "広…告  ");
        check(Column::ends, "aéî€b", 4, "aé…b");
        check(Column::text, "", 2, "  ");
    }
}
