//! CSV as Python's writers make it: RFC 4180 with any line end, and a byte order mark if a
//! spreadsheet was there in between.

/// More rows say nothing about one evaluation.
const MOST_ROWS: usize = 10_000;

/// A table with a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Whether its last row has as many cells as its header.
    pub(super) whole: bool,
}

/// One row of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    header: &'a [String],
    cells: &'a [String],
}

impl Table {
    /// Walks the rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { header: &self.header, cells })
    }

    /// Returns whether there is a column of this name.
    pub(super) fn has(&self, column: &str) -> bool {
        self.header.iter().any(|name| name == column)
    }
}

impl<'a> Row<'a> {
    /// Returns what stands in a column; nothing where the column, the cell or its text is missing.
    pub(super) fn get(&self, column: &str) -> Option<&'a str> {
        let position = self.header.iter().position(|name| name == column)?;
        self.cells.get(position).map(|cell| cell.trim()).filter(|cell| !cell.is_empty())
    }

    /// Walks the cells with the names of their columns.
    pub(super) fn cells(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.header.iter().zip(self.cells).map(|(name, cell)| (name.as_str(), cell.trim()))
    }
}

/// Reads a table; bytes that are not UTF-8 are replaced.
///
/// # Errors
/// It is empty, ends inside a quoted cell, or is too long for a report.
pub(super) fn table(bytes: &[u8]) -> Result<Table, String> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut records = Records { rest: bytes };
    let header = records.next().ok_or("it is empty")??;
    let header: Vec<String> = header.iter().map(|name| name.trim().to_lowercase()).collect();
    let mut rows = Vec::new();
    for record in records {
        if rows.len() == MOST_ROWS {
            return Err(format!("it has more than {MOST_ROWS} rows"));
        }
        rows.push(record?);
    }
    let whole = rows.last().is_some_and(|last: &Vec<String>| last.len() >= header.len());
    Ok(Table { header, rows, whole })
}

/// Walks the records; blank lines are none.
struct Records<'a> {
    rest: &'a [u8],
}

impl Iterator for Records<'_> {
    type Item = Result<Vec<String>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        while let [b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return None;
        }
        let mut cells = Vec::new();
        loop {
            let (cell, end) = match self.cell() {
                Ok(read) => read,
                Err(problem) => {
                    self.rest = &[];
                    return Some(Err(problem));
                }
            };
            cells.push(cell);
            if end != Some(b',') {
                return Some(Ok(cells));
            }
        }
    }
}

impl Records<'_> {
    /// Takes one cell and the byte that ends it.
    fn cell(&mut self) -> Result<(String, Option<u8>), String> {
        let mut text = Vec::new();
        let mut is_quoted = false;
        let mut rest = self.rest.iter().copied().enumerate().peekable();
        let mut end = None;
        let mut taken = self.rest.len();
        while let Some((position, byte)) = rest.next() {
            let doubled = byte == b'"' && rest.peek().is_some_and(|(_, next)| *next == b'"');
            match byte {
                b'"' if is_quoted && doubled => {
                    rest.next();
                    text.push(byte);
                }
                b'"' if is_quoted => is_quoted = false,
                // Inside of a bare cell a quote is a character like any other.
                b'"' if text.is_empty() => is_quoted = true,
                b',' | b'\n' | b'\r' if !is_quoted => {
                    (end, taken) = (Some(byte), position + 1);
                    break;
                }
                _ => text.push(byte),
            }
        }
        self.rest = self.rest.get(taken..).unwrap_or_default();
        if is_quoted {
            return Err("it ends inside a quoted cell".to_owned());
        }
        Ok((String::from_utf8_lossy(&text).into_owned(), end))
    }
}
