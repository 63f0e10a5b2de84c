//! `gratis model estimate`: how many tokens a text is (E11). Never what a call is charged or held by.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tiktoken_rs::CoreBPE;

use super::configuration::load_local;
use super::out::{Column, Format, Out};
use super::{Done, Failure};
use crate::dialect::{Api, Facts};

/// How Qwen's tokenizer cuts a text before it looks for tokens; the file has the tokens alone.
const PIECES: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The largest text.
const TEXT_MAX: u64 = 64 << 20;

/// A text to be estimated.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The model's exact code.
    code: String,
    /// The text; without it and without a file, the standard input.
    #[arg(conflicts_with = "file")]
    text: Option<String>,
    /// A file with the text.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A vocabulary of Qwen: `qwen.tiktoken`, as the Python package dashscope brings it. Without one, the bound is told.
    #[arg(long, value_name = "FILE")]
    vocabulary: Option<PathBuf>,
}

const COLUMNS: [Column; 4] =
    [("MODEL", "/model"), ("TOKENS", "/tokens"), ("FROM", "/from"), ("HELD FOR A CALL", "/bound")];

pub(super) fn run(args: &Args, config: Option<&Path>, output: Format, out: &mut Out<'_>) -> Done {
    let text = text(args)?;
    let loaded = load_local(config, out)?;
    let model = loaded.catalogue.model(&args.code).ok_or_else(|| {
        let code = &args.code;
        Failure::Refused(format!("The catalogue has no model `{code}`; codes are matched exactly. [unknown_model]"))
    })?;
    let body = json!({ "model": args.code, "messages": [{ "role": "user", "content": text }] }).to_string();
    let facts = Facts::read(Api::Chat, body.as_bytes()).map_err(|error| Failure::Refused(error.message))?;
    let template =
        model.bounds.as_ref().map_or(0, |bounds| bounds.template_base.saturating_add(bounds.template_message));
    let bound = facts.input.text.saturating_add(template);
    let (tokens, from) = match &args.vocabulary {
        Some(file) => (tokens(&text, file)?, format!("the vocabulary {}", file.display())),
        None => (facts.input.text, "the bound: a text never has more tokens than normalised bytes".to_owned()),
    };
    let answer: Value = json!({ "model": args.code, "tokens": tokens, "from": from, "bound": bound });
    if output == Format::Json { out.json(&answer) } else { out.fields(&COLUMNS, &answer) }
}

fn text(args: &Args) -> Result<String, Failure> {
    if let Some(text) = &args.text {
        return Ok(text.clone());
    }
    let mut text = String::new();
    let read = match &args.file {
        Some(file) => std::fs::File::open(file).and_then(|file| file.take(TEXT_MAX).read_to_string(&mut text)),
        None => std::io::stdin().lock().take(TEXT_MAX).read_to_string(&mut text),
    };
    read.map(|_| text).map_err(|error| Failure::Usage(format!("cannot read the text: {error}")))
}

/// The tokens of a text by a vocabulary: a line a token, its bytes in base64 and its rank.
fn tokens(text: &str, file: &Path) -> Result<u64, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{} is no vocabulary: {why}", file.display()));
    let lines = std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?;
    let rank = |line: &str| {
        let (token, rank) = line.split_once(' ')?;
        Some((STANDARD.decode(token).ok()?, rank.trim().parse().ok()?))
    };
    let ranks = lines.lines().filter(|line| !line.is_empty()).map(rank);
    let ranks = ranks.collect::<Option<_>>().ok_or_else(|| wrong("a line is not base64 and a number"))?;
    let tokenizer =
        CoreBPE::new(ranks, std::iter::empty().collect(), PIECES).map_err(|error| wrong(&error.to_string()))?;
    Ok(tokenizer.encode_ordinary(text).len() as u64)
}
