//! Columns of text that `awk` can take apart: no cell is empty or has white space in it.

/// Rows of equal length, the header first.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let clean: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| cell_text(cell)).collect()).collect();
    let width = |column: usize| clean.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    clean.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn cell_text(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    cell.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_never_empty_and_have_no_spaces() {
        let rows = [
            vec!["ID".into(), "NAME".into()],
            vec!["1".into(), String::new()],
            vec!["22".into(), "a b".into()],
        ];
        assert_eq!(table(&rows), "ID  NAME\n1   -\n22  a_b");
    }
}
