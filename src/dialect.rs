//! One API's shapes: where the model is named, what bounds a call, where usage stands, what an error looks like.
//!
//! Pure: bytes in, values out; nothing here knows a clock, a store or a connection.
