//! What the vector kernels have in common, for registers of any width.
//!
//! A macro rather than generic functions: which instructions a function may use is part of its
//! declaration (`target_feature`), and neither a type nor a constant can say it.

/// Defines `digest`, and the functions under it that differ in their registers only.
///
/// The module brings what differs in more: `Rows` (`new`, `words`, `counts`, `longest`), `mix`,
/// `rotate` and `add_active`.
macro_rules! kernel {
    (
        features: $features:literal,
        lanes: $lanes:literal,
        word: $word:ty,
        splat: $splat:ident,
        add: $add:ident,
        unpack_words: $low_words:ident, $high_words:ident,
        unpack_pairs: $low_pairs:ident, $high_pairs:ident,
        load: $load:ident,
        store: $store:ident,
    ) => {
        const LANES: usize = $lanes;

        /// One word of each lane.
        type Word = $word;

        /// Digests one row of lanes or two. Two hide the latency of each other's steps.
        #[target_feature(enable = $features)]
        pub(super) fn digest(values: &[[&[u8]; LANES]], out: &mut [[Md5Digest; LANES]]) {
            match (values, out) {
                ([one], [out]) => *out = rows([one])[0],
                ([one, two], [first, second]) => [*first, *second] = rows([one, two]),
                _ => unreachable!("one row or two"),
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn rows<const N: usize>(values: [&[&[u8]; LANES]; N]) -> [[Md5Digest; LANES]; N] {
            let mut rows = Rows::new(values);
            let mut states = [START.map(|word| $splat(word as i32)); N];
            for block in 0..rows.longest {
                let words = rows.words(block);
                let mixed = compress(states, &words);
                for n in 0..N {
                    states[n] = add_active(rows.counts[n], block, states[n], mixed[n]);
                }
            }
            let mut out = [[Md5Digest::default(); LANES]; N];
            for n in 0..N {
                out[n] = digests(states[n]);
            }
            out
        }

        /// The four rounds over one block, without the final addition.
        #[inline]
        #[target_feature(enable = $features)]
        fn compress<const N: usize>(mut states: [[Word; 4]; N], words: &[[Word; 16]; N]) -> [[Word; 4]; N] {
            round::<N, 0, 7, 25, 12, 20, 17, 15, 22, 10>(&mut states, words);
            round::<N, 1, 5, 27, 9, 23, 14, 18, 20, 12>(&mut states, words);
            round::<N, 2, 4, 28, 11, 21, 16, 16, 23, 9>(&mut states, words);
            round::<N, 3, 6, 26, 10, 22, 15, 17, 21, 11>(&mut states, words);
            states
        }

        /// One round; it rotates to the left by `L0` to `L3`, which is to the right by `R0` to `R3`.
        #[inline]
        #[target_feature(enable = $features)]
        fn round<
            const N: usize,
            const ROUND: usize,
            const L0: i32,
            const R0: i32,
            const L1: i32,
            const R1: i32,
            const L2: i32,
            const R2: i32,
            const L3: i32,
            const R3: i32,
        >(
            states: &mut [[Word; 4]; N],
            words: &[[Word; 16]; N],
        ) {
            for i in (0..16).step_by(4) {
                step::<N, ROUND, L0, R0>(states, words, i, [0, 1, 2, 3]);
                step::<N, ROUND, L1, R1>(states, words, i + 1, [3, 0, 1, 2]);
                step::<N, ROUND, L2, R2>(states, words, i + 2, [2, 3, 0, 1]);
                step::<N, ROUND, L3, R3>(states, words, i + 3, [1, 2, 3, 0]);
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn step<const N: usize, const ROUND: usize, const LEFT: i32, const RIGHT: i32>(
            states: &mut [[Word; 4]; N],
            words: &[[Word; 16]; N],
            i: usize,
            [a, b, c, d]: [usize; 4],
        ) {
            const { assert!(LEFT + RIGHT == 32) };
            let sine = $splat(SINES[ROUND][i] as i32);
            for (state, words) in states.iter_mut().zip(words) {
                let mixed = mix::<ROUND>(state[b], state[c], state[d]);
                let added = $add(state[a], $add(words[WORDS[ROUND][i]], sine));
                let rotated = rotate::<LEFT, RIGHT>($add(added, mixed));
                state[a] = $add(state[b], rotated);
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn digests([a, b, c, d]: [Word; 4]) -> [Md5Digest; LANES] {
            const PARTS: usize = LANES / 4;
            const { assert!(size_of::<[Md5Digest; PARTS]>() == size_of::<Word>()) };
            let (ab_low, ab_high) = ($low_words(a, b), $high_words(a, b));
            let (cd_low, cd_high) = ($low_words(c, d), $high_words(c, d));
            // Of the four lanes in each part of a register, the first, the second, …
            let registers = [
                $low_pairs(ab_low, cd_low),
                $high_pairs(ab_low, cd_low),
                $low_pairs(ab_high, cd_high),
                $high_pairs(ab_high, cd_high),
            ];
            let mut out = [Md5Digest::default(); LANES];
            for (i, register) in registers.into_iter().enumerate() {
                let mut digests = [Md5Digest::default(); PARTS];
                // SAFETY: `digests` is as large as a register.
                unsafe { $store(digests.as_mut_ptr().cast(), register) };
                for (part, digest) in digests.into_iter().enumerate() {
                    out[4 * part + i] = digest;
                }
            }
            out
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn load(words: &[u32; LANES]) -> Word {
            // SAFETY: `words` is as large as a register: as many words as there are lanes.
            unsafe { $load(words.as_ptr().cast()) }
        }
    };
}

pub(super) use kernel;
