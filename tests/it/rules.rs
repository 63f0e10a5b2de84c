//! What the sources say, what a call then gets, and what each surface comes to: three tables that a person can read
//! (`cargo test --test it rules -- --nocapture`).

mod golden;
mod surfaces;
mod truth;
