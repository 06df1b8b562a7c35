//! Rows of the tables of message numbers: `1D 2-4. *U` says what becomes of each number by a letter.

use std::ops::RangeInclusive;

/// The letter for `number`: that of the first entry with it, else that of `*`, else `X`.
pub(crate) fn letter(row: &str, number: u8) -> char {
    let mut entries = row.split_whitespace().map(entry);
    let found = entries.find(|(numbers, _)| numbers.contains(&number));
    found.map_or('X', |(_, letter)| letter)
}

fn entry(text: &str) -> (RangeInclusive<u8>, char) {
    let letter = text.chars().last().expect("an entry");
    let numbers = &text[..text.len() - letter.len_utf8()];
    if numbers == "*" {
        return (0..=u8::MAX, letter);
    }
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    (first.parse().unwrap()..=last.parse().unwrap(), letter)
}
