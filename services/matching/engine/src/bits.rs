//! Where bits are set.

/// The places of a word's bits, counted from a first place.
#[inline]
fn place(first: u32, word: u64) -> u32 {
    // With a bit that is there in any case, nothing has to be done for a word without one.
    first.wrapping_add((word | 1 << 63).trailing_zeros())
}

/// The places of the bits of some words, one by one.
#[inline]
pub(crate) fn places(words: impl IntoIterator<Item = u64>, first: u32) -> impl Iterator<Item = u32> {
    words.into_iter().zip(0_u32..).flat_map(move |(mut word, number)| {
        let first = first.wrapping_add(number.wrapping_mul(u64::BITS));
        std::iter::from_fn(move || {
            let found = (word != 0).then(|| place(first, word));
            word &= word.wrapping_sub(1);
            found
        })
    })
}

/// The places of the bits of some words, all at once. Some are written for every word, whether it has as many bits or not: a loop
/// that ends somewhere else each time costs more than what it writes. There must be room for as many beyond all bits.
#[inline]
pub(crate) fn listed<const ALWAYS: usize>(
    words: impl IntoIterator<Item = u64>,
    mut first: u32,
    room: &mut [u32],
) -> &[u32] {
    let mut count = 0_usize;
    for mut word in words {
        if word == 0 {
            first = first.wrapping_add(u64::BITS);
            continue;
        }
        let Some((always, more)) = room.get_mut(count..).and_then(<[u32]>::split_first_chunk_mut::<ALWAYS>) else {
            break;
        };
        for slot in always {
            *slot = place(first, word);
            count = count.wrapping_add(usize::from(word != 0));
            word &= word.wrapping_sub(1);
        }
        if word != 0 {
            for slot in more {
                *slot = place(first, word);
                count = count.wrapping_add(1);
                word &= word.wrapping_sub(1);
                if word == 0 {
                    break;
                }
            }
        }
        first = first.wrapping_add(u64::BITS);
    }
    room.get(..count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_bit_is_found_once(words in prop::collection::vec(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()], 0..5)) {
            let bits = (0..words.len() * 64).filter(|bit| words[bit / 64] >> (bit % 64) & 1 == 1);
            let bits: Vec<u32> = bits.map(|bit| 100 + u32::try_from(bit).unwrap()).collect();
            let mut room = vec![0; words.len() * 64 + 4];
            prop_assert_eq!(&places(words.iter().copied(), 100).collect::<Vec<_>>(), &bits);
            prop_assert_eq!(listed::<2>(words.iter().copied(), 100, &mut room), &bits);
            prop_assert_eq!(listed::<4>(words, 100, &mut room), &bits);
        }
    }
}
