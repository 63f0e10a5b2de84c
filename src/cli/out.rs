//! What a command prints.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::Value;

use super::{Done, Failure};
use crate::admin::figure;
use crate::config::Env;

/// How results are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: the API's own answer.
    Json,
}

/// The standard output and the standard error of a command. A closed pipe ends the command without a word.
pub struct Out<'a> {
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
}

/// A column of a table: its title, and where its value stands in a row (a JSON pointer).
pub(super) type Column = (&'static str, &'static str);

impl<'a> Out<'a> {
    /// Prints to these.
    pub fn new(stdout: &'a mut dyn Write, stderr: &'a mut dyn Write) -> Self {
        Self { stdout, stderr }
    }

    /// Whether a person looks at the standard error and wants colours (https://no-color.org).
    pub(super) fn has_colour(&self, env: &Env) -> bool {
        std::io::stderr().is_terminal() && env.get("NO_COLOR").is_none_or(str::is_empty)
    }

    /// One line of a result.
    pub fn line(&mut self, text: impl Display) -> Done {
        Ok(writeln!(self.stdout, "{text}")?)
    }

    /// Several lines, as they are.
    pub fn text(&mut self, text: &str) -> Done {
        Ok(self.stdout.write_all(text.as_bytes())?)
    }

    /// A remark that is no result: to the standard error.
    pub fn remark(&mut self, text: impl Display) -> Done {
        Ok(writeln!(self.stderr, "{text}")?)
    }

    /// Why the command failed.
    pub(super) fn error(&mut self, text: &str) -> Done {
        self.remark(format_args!("error: {text}"))
    }

    /// A value as JSON, on lines of its own.
    pub fn json(&mut self, value: &Value) -> Done {
        self.line(format_args!("{value:#}"))
    }

    /// Rows under their titles. Without rows there is only `nothing`, which is a remark.
    pub(super) fn table(&mut self, columns: &[Column], rows: &[Value], nothing: &str) -> Done {
        if rows.is_empty() {
            return self.remark(nothing);
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(columns.iter().map(|(title, _)| *title));
        for row in rows {
            table.add_row(columns.iter().map(|(_, place)| cell(row.pointer(place).unwrap_or(&Value::Null))));
        }
        self.lines_of(&table)
    }

    /// What and how much, a line each.
    pub(super) fn pairs(&mut self, pairs: &[(String, String)]) -> Done {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        for (name, value) in pairs {
            table.add_row([name, value]);
        }
        self.lines_of(&table)
    }

    /// The fields of one object, in this order.
    pub(super) fn fields(&mut self, columns: &[Column], object: &Value) -> Done {
        let shown =
            |(title, place): &Column| (title.to_lowercase(), text(object.pointer(place).unwrap_or(&Value::Null)));
        self.pairs(&columns.iter().map(shown).collect::<Vec<_>>())
    }

    fn lines_of(&mut self, table: &Table) -> Done {
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// What the parser of the command line has to say: help is a result, a mistake is not.
    pub(super) fn clap(&mut self, message: &clap::Error) -> Done {
        let text = message.render().to_string();
        if message.use_stderr() {
            self.stderr.write_all(text.as_bytes())?;
            return Err(Failure::Misused);
        }
        self.text(&text)
    }

    pub(super) fn flush(&mut self) -> Done {
        Ok(self.stdout.flush()?)
    }
}

fn cell(value: &Value) -> Cell {
    let alignment = if value.is_number() { CellAlignment::Right } else { CellAlignment::Left };
    Cell::new(text(value)).set_alignment(alignment)
}

/// A value as a person reads it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(count), _) => figure::show(count),
            (None, Some(below)) => format!("-{}", figure::show(below.unsigned_abs())),
            (None, None) => number.to_string(),
        },
        Value::String(text) => words(text),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(text_of_item).collect::<Vec<_>>().join(", "),
        Value::Object(_) => value.to_string(),
    }
}

fn text_of_item(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => text(value),
    }
}

/// The API's words as the provider's console has them (C8).
fn words(text: &str) -> String {
    match text {
        "expired" | "no_free_quota" => "No free quota".to_owned(),
        "used_up" => "used up".to_owned(),
        "not_started" => "not started".to_owned(),
        "free_quota_only" => "free quota only".to_owned(),
        "pay_as_you_go" => "pay as you go".to_owned(),
        "" => "-".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_read_well() {
        for (value, shown) in [
            (json!(null), "-"),
            (json!(1_000_000), "1,000,000"),
            (json!(-12_345), "-12,345"),
            (json!(true), "yes"),
            (json!(["a", "b"]), "a, b"),
            (json!([]), "-"),
            (json!("expired"), "No free quota"),
            (json!("qwen-max"), "qwen-max"),
        ] {
            assert_eq!(text(&value), shown);
        }
    }
}
