//! Reading a usage object (W 3).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ModelUsage, UsageDetails};
use crate::dialect::api::Counting;
use crate::ledger::Usage;

/// No call uses more; a larger figure is a mistake of the upstream's and must not empty a grant.
const MAX_UNITS: u64 = 1 << 31;

/// A usage object that can be counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Read {
    pub(super) usage: Usage,
    /// The same by model, where it is told so.
    pub(super) models: Vec<ModelUsage>,
    pub(super) details: UsageDetails,
    /// Whether it tells apart what was written.
    pub(super) apart: bool,
    /// Whether the total says something else than the sum of its parts.
    pub(super) mismatch: bool,
}

/// The members that may count. Only those of the call's [`Counting`] are read as numbers; a number that is negative, a float or
/// a string fails the whole object then, and so does a member that is given twice.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    image_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    video_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    image_count: Option<&'a RawValue>,
    #[serde(borrow)]
    seconds: Option<&'a RawValue>,
    #[serde(borrow)]
    duration: Option<&'a RawValue>,
    #[serde(borrow)]
    video_duration: Option<&'a RawValue>,
    #[serde(borrow)]
    video_count: Option<&'a RawValue>,
    #[serde(borrow)]
    characters: Option<&'a RawValue>,
    #[serde(borrow)]
    count: Option<&'a RawValue>,
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    input_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    models: Option<&'a RawValue>,
}

/// Details are for statistics: those that cannot be read are as if they were absent.
#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

/// A number that may be absent; `Err` where it is there and is none.
type Number = Result<Option<u64>, ()>;

/// Reads a usage object; `None` where it is malformed or incomplete.
pub(super) fn read(json: &[u8], counting: Counting) -> Option<Read> {
    // Some services give the figure alone (W 3.5).
    if let (Counting::Seconds | Counting::Characters | Counting::Images | Counting::Voices, Some(b'0'..=b'9')) =
        (counting, json.first())
    {
        let units = serde_json::from_slice::<&RawValue>(json).ok().and_then(|raw| units(Some(raw)).ok()?)?;
        return whole(units);
    }
    // A list would be taken for the members in their order.
    if json.first() != Some(&b'{') {
        return None;
    }
    let object: Object<'_> = serde_json::from_slice(json).ok()?;
    match counting {
        Counting::Chat => {
            object.tokens(number(object.prompt_tokens).ok()??, Some(number(object.completion_tokens).ok()??))
        }
        Counting::Read => {
            let total = number(object.total_tokens).ok()?;
            object.tokens(number(object.prompt_tokens).ok()?.or(number(object.input_tokens).ok()?).or(total)?, Some(0))
        }
        Counting::Tokens => object.either(0),
        Counting::TokensApart => {
            let apart = number(object.image_tokens).ok()?.unwrap_or(0) + number(object.video_tokens).ok()?.unwrap_or(0);
            object.either(apart)
        }
        Counting::TokensAndCache => {
            let part = |raw| number(raw).ok().map(Option::unwrap_or_default);
            let cached = part(object.cache_read_input_tokens)?;
            let input = part(object.input_tokens)?.checked_add(part(object.cache_creation_input_tokens)?)?;
            let read = object.tokens(input.checked_add(cached)?, Some(number(object.output_tokens).ok()??))?;
            let said = object.cache_read_input_tokens.is_some();
            Some(Read { details: UsageDetails { cached: said.then_some(cached), ..read.details }, ..read })
        }
        Counting::Images => whole(units(object.image_count).ok()??),
        Counting::Seconds => object.seconds(),
        Counting::Characters => whole(units(object.characters).ok()??),
        Counting::Voices => whole(units(object.count).ok()??),
        Counting::Models => by_model(object.models?),
    }
}

impl Object<'_> {
    /// Tokens that were read, with `apart` beside them, and tokens that were written. Where only the total is given, all were read.
    fn either(&self, apart: u64) -> Option<Read> {
        let (input, output) = (number(self.input_tokens).ok()?, number(self.output_tokens).ok()?);
        let total = number(self.total_tokens).ok()?;
        let input = match (input, output) {
            (Some(input), _) => input.checked_add(apart)?,
            (None, Some(output)) => total?.checked_sub(output)?,
            (None, None) => total?,
        };
        self.tokens(input, output)
    }

    fn tokens(&self, input: u64, output: Option<u64>) -> Option<Read> {
        let said = output.unwrap_or(0);
        let total = number(self.total_tokens).ok()?.unwrap_or(input.checked_add(said)?);
        if input.max(said).max(total) > MAX_UNITS {
            return None;
        }
        let beside = number(self.cached_tokens).ok().flatten();
        let read = self.prompt_tokens_details.or(self.input_tokens_details);
        let written = self.completion_tokens_details.or(self.output_tokens_details);
        let details = UsageDetails {
            cached: part(read, |d| d.cached_tokens).or(beside),
            reasoning: part(written, |d| d.reasoning_tokens),
        };
        // Never less than the total says: what it has beyond its parts is counted as output, the dearer side.
        let usage = Usage { input, output: said.max(total.saturating_sub(input)) };
        let (models, apart) = (Vec::new(), output.is_some());
        Some(Read { usage, models, details, apart, mismatch: total != input + said })
    }

    /// Seconds of one recording or of each of several videos; the largest of what is given.
    fn seconds(&self) -> Option<Read> {
        let figures = [self.seconds, self.duration, self.video_duration];
        let mut most = None;
        for figure in figures {
            most = most.max(units(figure).ok()?);
        }
        let videos = number(self.video_count).ok()?.unwrap_or(1).max(1);
        // The old form gives the seconds of one video, the new one those of all (W 3.5).
        let each = if self.video_duration.is_some() { videos } else { 1 };
        whole(most?.checked_mul(each)?)
    }
}

/// So many models one app has at most; a longer list is not believed.
const MAX_MODELS: usize = 64;

/// The tokens of each of an app's models. One that is listed twice was called twice.
fn by_model(raw: &RawValue) -> Option<Read> {
    #[derive(Deserialize)]
    struct One<'a> {
        model_id: String,
        #[serde(borrow)]
        input_tokens: &'a RawValue,
        #[serde(borrow)]
        output_tokens: &'a RawValue,
    }
    let list: Vec<&RawValue> = serde_json::from_str(raw.get()).ok().filter(|list: &Vec<_>| list.len() <= MAX_MODELS)?;
    let (mut models, mut sum): (Vec<ModelUsage>, _) = (Vec::new(), Usage::default());
    for raw in list {
        // A list would be taken for the members in their order.
        let one: One<'_> = serde_json::from_str(raw.get()).ok().filter(|_| raw.get().starts_with('{'))?;
        let usage =
            Usage { input: number(Some(one.input_tokens)).ok()??, output: number(Some(one.output_tokens)).ok()?? };
        sum = Usage { input: sum.input.checked_add(usage.input)?, output: sum.output.checked_add(usage.output)? };
        match models.iter_mut().find(|known| known.model == one.model_id) {
            Some(known) => {
                known.usage.input = known.usage.input.checked_add(usage.input)?;
                known.usage.output = known.usage.output.checked_add(usage.output)?;
            }
            None => models.push(ModelUsage { model: one.model_id, usage }),
        }
    }
    let read = Read { usage: sum, models, details: UsageDetails::default(), apart: false, mismatch: false };
    (sum.input.max(sum.output) <= MAX_UNITS && !read.models.is_empty()).then_some(read)
}

/// Units other than tokens are counted as one side.
fn whole(units: u64) -> Option<Read> {
    let usage = Usage { input: units, output: 0 };
    (units <= MAX_UNITS).then_some(Read {
        usage,
        models: Vec::new(),
        details: UsageDetails::default(),
        apart: false,
        mismatch: false,
    })
}

/// A whole number that is not negative.
fn number(raw: Option<&RawValue>) -> Number {
    match raw.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| ()),
    }
}

/// A whole number of units; seconds may have a fraction, which counts as one more.
fn units(raw: Option<&RawValue>) -> Number {
    let Some(text) = raw.map(RawValue::get).filter(|text| *text != "null") else { return Ok(None) };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    let whole: u64 = whole.parse().map_err(|_| ())?;
    Ok(Some(whole.saturating_add(u64::from(fraction.bytes().any(|b| b != b'0')))))
}

fn part(raw: Option<&RawValue>, field: impl Fn(Details) -> Option<u64>) -> Option<u64> {
    let raw = raw.filter(|raw| raw.get().starts_with('{'))?;
    serde_json::from_str::<Details>(raw.get()).ok().and_then(field)
}
