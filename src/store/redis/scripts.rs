//! The scripts: one a verb, each with what it begins and ends with. Their contracts stand in the `.lua` files.

use super::link::Script;

macro_rules! script {
    ($name:ident, $file:literal $(, $first:literal)?) => {
        pub(super) static $name: Script = Script::new(
            $file,
            concat!(
                $(include_str!($first),)?
                include_str!("common.lua"),
                include_str!("spread.lua"),
                include_str!("finish.lua"),
                include_str!(concat!($file, ".lua"))
            ),
        );
    };
}

script!(RESERVE, "reserve", "usual.lua");
script!(RESOLVE, "resolve", "usual.lua");
pub(super) static USUAL: Script = Script::new("usual", include_str!("usual.lua"));
script!(OPERATE, "operate");
script!(OPEN, "open");
script!(BOOK, "book");

/// What is loaded when a connection is made.
pub(super) static ALL: [&Script; 8] =
    [&RESERVE, &RESOLVE, &USUAL, &OPERATE, &OPEN, &BOOK, &super::notes::NOTES, &super::notes::LOG];
