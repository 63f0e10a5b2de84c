//! A smoke run of the fuzz targets on the stable toolchain: each seed, and changes of it that a fixed seed of the random numbers
//! decides. `make fuzz` is the long run, which learns from what it covers.

mod admin;
mod config;
pub mod facts;
mod frames;
mod observer;
mod routes;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::admin::office;
use crate::dialects_oracle as oracle;

/// Changed inputs of a target, and of the one whose every input is a whole configuration.
const CHANGED: usize = 4_000;
const CONFIGURATIONS: usize = 300;

/// Bytes that mean something to one of the readers.
const SIGNS: &[u8] = b"{}[]\",:\\\n\r \0\x7f\x80\xc3\xff09-.eE=&?/*$+";

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no seed", folder.display());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One seed with a few changes: bytes that are other ones, gone, there twice, or from another seed.
fn changed(seeds: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut input = seeds[random.random_range(0..seeds.len())].clone();
    for _ in 0..random.random_range(1..=4) {
        let from = random.random_range(0..=input.len());
        let to = random.random_range(from..=input.len().min(from + 32));
        match random.random_range(0..6) {
            0 => drop(input.drain(from..to)),
            1 => input.insert(from, SIGNS[random.random_range(0..SIGNS.len())]),
            2 if from < input.len() => input[from] = SIGNS[random.random_range(0..SIGNS.len())],
            3 if from < input.len() => input[from] ^= 1 << random.random_range(0..8),
            4 => {
                let part = input[from..to].to_vec();
                input.splice(from..from, part);
            }
            _ => {
                let other = &seeds[random.random_range(0..seeds.len())];
                let start = random.random_range(0..=other.len());
                let part = other[start..other.len().min(start + 64)].to_vec();
                input.splice(from..to, part);
            }
        }
    }
    input
}

fn run(target: &str, count: usize, check: impl Fn(&[u8])) {
    let seeds = seeds(target);
    let mut random = StdRng::seed_from_u64(1);
    let more = (0..count).map(|_| changed(&seeds, &mut random)).collect::<Vec<_>>();
    for input in seeds.iter().chain(&more) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) {
            eprintln!("{target}: \"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}

/// The input as the fuzzer would give it.
fn typed<'a, T: Arbitrary<'a>>(bytes: &'a [u8], check: impl Fn(T)) {
    if let Ok(input) = T::arbitrary_take_rest(Unstructured::new(bytes)) {
        check(input);
    }
}

#[test]
fn bodies_are_read_as_a_full_parser_reads_them() {
    run("facts", CHANGED, |bytes| typed(bytes, facts::check));
}

#[test]
fn replies_are_observed_alike_in_any_pieces() {
    run("observer", CHANGED, |bytes| typed(bytes, observer::check));
}

#[test]
fn frames_are_read_alike_in_any_pieces() {
    run("frames", CHANGED, |bytes| typed(bytes, frames::check));
}

#[test]
fn request_lines_find_a_row_or_none() {
    run("routes", CHANGED, |bytes| typed(bytes, routes::check));
}

#[test]
fn configurations_are_taken_or_every_mistake_is_shown() {
    run("config", CONFIGURATIONS, |bytes| typed(bytes, config::check));
}

#[test]
fn the_admin_api_answers_with_a_change_or_a_problem() {
    run("admin", CHANGED, |bytes| typed(bytes, admin::check));
}
