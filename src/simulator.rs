//! An upstream of our own, with a ledger of its own.
