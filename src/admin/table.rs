//! Tables with the console's figures, as they are copied from a page or written as CSV.

use super::figure::Figure;

/// A line's number, the model, its figure.
pub(super) type Row = (usize, String, Figure);

/// The lines that name a known model and a figure; and the numbers of those that do not, but have something in them.
pub(super) fn read(text: &str, is_known: impl Fn(&str) -> bool) -> (Vec<Row>, Vec<usize>) {
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate().map(|(place, line)| (place + 1, line)) {
        let fields = fields(line);
        let model = fields.iter().position(|field| is_known(field));
        let found = model.and_then(|place| {
            let rest = fields.get(place + 1..)?;
            // A figure with its total is unmistakable; a lone number is what is left where the line has no such figure.
            let whole =
                rest.iter().filter_map(|field| field.parse::<Figure>().ok()).find(|figure| figure.total.is_some());
            let figure = whole.or_else(|| rest.iter().find_map(|field| field.parse::<Figure>().ok()))?;
            Some((number, fields.get(place)?.clone(), figure))
        });
        match found {
            Some(row) => rows.push(row),
            None if line.trim().is_empty() => {}
            None => skipped.push(number),
        }
    }
    (rows, skipped)
}

/// The fields of a line: by tabs where there are any, by the rules of CSV where a quote or a comma separates, else by blanks.
fn fields(line: &str) -> Vec<String> {
    let trimmed = |field: &str| field.trim().to_owned();
    if line.contains('\t') {
        return line.split('\t').map(trimmed).collect();
    }
    // Figures have commas of their own, so a comma separates only where it follows the first field at once.
    let first = line.trim_start().split([' ', ',', '\t']).next().unwrap_or_default();
    let by_comma = line.contains('"') || line.trim_start().get(first.len()..).is_some_and(|rest| rest.starts_with(','));
    if by_comma {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .trim(csv::Trim::All)
            .flexible(true)
            .from_reader(line.as_bytes());
        if let Some(Ok(record)) = reader.records().next() {
            return record.iter().map(trimmed).collect();
        }
    }
    // `362,917 / 1,000,000` is one field.
    line.replace(" / ", "/").split_whitespace().map(trimmed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_they_are_pasted() {
        let known = |code: &str| ["qwen-max", "qwen-plus"].contains(&code);
        let figure = |remaining, total| Figure { remaining, total };
        for text in [
            "Model\tFree quota\tStatus\nqwen-max\t362,917/1,000,000\tActive\nqwen-plus\t5\n",
            "model,figure\nqwen-max,\"362,917/1,000,000\"\nqwen-plus,5\n",
            "Model   Free quota\nqwen-max   362,917/1,000,000  2026-12-01\nqwen-plus  5",
            "header\nqwen-max 362,917 / 1,000,000\n\nqwen-plus,5",
        ] {
            let (rows, skipped) = read(text, known);
            let found: Vec<_> = rows.iter().map(|(_, model, figure)| (model.as_str(), *figure)).collect();
            let wanted = [("qwen-max", figure(362_917, Some(1_000_000))), ("qwen-plus", figure(5, None))];
            assert_eq!((found.as_slice(), skipped.as_slice()), (wanted.as_slice(), [1].as_slice()), "{text}");
        }
        assert_eq!(read("qwen-max\nnope 1/2\nqwen-plus 36,2917", known), (vec![], vec![1, 2, 3]));
    }
}
