//! The embedded store (LEDGER 3).
