//! The structure of JSON documents (RFC 8259): which bytes are in strings, where brackets, commas and
//! keys stand, and whether every byte may stand where it does.
//!
//! Sixty-four bytes at a time are turned into sets of bits, one for each kind of character; the rules
//! are then arithmetic on these sets. What is within brackets follows from all that comes before, and is
//! left to a walk over them: of the rules of the grammar, only that brackets match, and that members are
//! in objects and elements in arrays, are its business.

mod classes;
mod rules;
mod portable;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(test)]
mod tests;

use crate::kernel::{Isa, Kernel};

/// The bytes that a [`Block`] is about.
pub const BLOCK: usize = 64;

/// The blocks that stand together: the most that a kernel does at once.
pub const AT_ONCE: usize = 8;

/// What is added to the mark of a bracket before which, since the last one, an element says that what is around
/// is an array.
pub const ARRAY_BEFORE: u8 = 0x80;

/// What is taken from the mark of a bracket, all of which are odd, before which, since the last one, a colon says
/// that what is around is an object.
pub const OBJECT_BEFORE: u8 = 1;

/// The structure of [`BLOCK`] bytes, a bit for each: the first is the lowest.
///
/// After the document's end, every byte is a space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// `{`, `}`, `[` and `]`, as all of the following outside of strings.
    pub brackets: u64,
    /// Commas.
    pub commas: u64,
    /// The opening quotes of the strings that follow a `{` or a comma: in objects, these are the keys.
    pub keys: u64,
    /// The quotes at both ends of strings.
    pub quotes: u64,
    /// What numbers and words are made of.
    pub words: u64,
    /// The brackets before which, since the last one, a colon says that what is around is an object.
    pub object_before: u64,
    /// The brackets before which, since the last one, an element says that what is around is an array.
    pub array_before: u64,
}

/// The structure of [`AT_ONCE`] blocks: each set of [`Block`] for all of them.
// As registers of eight numbers.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
#[expect(missing_docs, reason = "they are those of a block")]
pub struct Blocks {
    pub brackets: [u64; AT_ONCE],
    pub commas: [u64; AT_ONCE],
    pub keys: [u64; AT_ONCE],
    pub quotes: [u64; AT_ONCE],
    pub words: [u64; AT_ONCE],
    pub object_before: [u64; AT_ONCE],
    pub array_before: [u64; AT_ONCE],
}

impl Blocks {
    #[inline(always)]
    fn get(&self, nth: usize) -> Block {
        Block {
            brackets: self.brackets[nth],
            commas: self.commas[nth],
            keys: self.keys[nth],
            quotes: self.quotes[nth],
            words: self.words[nth],
            object_before: self.object_before[nth],
            array_before: self.array_before[nth],
        }
    }

    #[inline(always)]
    fn set(&mut self, nth: usize, block: &Block) {
        self.brackets[nth] = block.brackets;
        self.commas[nth] = block.commas;
        self.keys[nth] = block.keys;
        self.quotes[nth] = block.quotes;
        self.words[nth] = block.words;
        self.object_before[nth] = block.object_before;
        self.array_before[nth] = block.array_before;
    }
}

/// The structure of a document; keeps its memory from one to the next.
#[derive(Clone, Debug, Default)]
pub struct Structure {
    /// At least as many as were ever needed.
    blocks: Vec<Blocks>,
    /// How many blocks are in use.
    count: usize,
    /// Where brackets and keys stand; room for one in every byte of the blocks.
    places: Vec<u32>,
    /// What stands there; as much room.
    marks: Vec<u8>,
    /// How many of them there are.
    placed: usize,
    /// What was seen in any of the document's bytes.
    seen: Seen,
}

/// What a document has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// A byte that may not stand where it does, or an end where something is missing.
    pub faults: bool,
    /// Bytes beyond ASCII, which are not looked at further: they need not be UTF-8.
    pub beyond_ascii: bool,
    /// Backslashes.
    pub escapes: bool,
}

impl Structure {
    /// The blocks of the document, of which the last one has at least one byte after its end; what stands with it
    /// behind it means nothing.
    #[inline(always)]
    pub fn blocks(&self) -> &[Blocks] {
        &self.blocks[..self.count.div_ceil(AT_ONCE)]
    }

    /// The blocks of the document one by one.
    pub fn each_block(&self) -> impl Iterator<Item = Block> {
        (0..self.count).map(|nth| self.blocks[nth / AT_ONCE].get(nth % AT_ONCE))
    }

    /// Where the brackets and the opening quotes of keys stand, in order.
    #[inline(always)]
    pub fn places(&self) -> &[u32] {
        &self.places[..self.placed]
    }

    /// What stands there: each bracket as it is, but for what is added and taken ([`ARRAY_BEFORE`],
    /// [`OBJECT_BEFORE`]), and each key's quote.
    #[inline(always)]
    pub fn marks(&self) -> &[u8] {
        &self.marks[..self.placed]
    }

    /// What the document has.
    #[inline(always)]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Room for the blocks of a document of `len` bytes, and for places and marks.
    #[inline(always)]
    fn room(&mut self, len: usize) -> (&mut [Blocks], &mut [u32], &mut [u8]) {
        self.count = len / BLOCK + 1;
        let room = self.count.div_ceil(AT_ONCE);
        if self.blocks.len() < room {
            self.blocks.resize(room, Blocks::default());
            self.places.resize(room * AT_ONCE * BLOCK, 0);
            self.marks.resize(room * AT_ONCE * BLOCK, 0);
        }
        (&mut self.blocks[..room], &mut self.places, &mut self.marks)
    }
}

/// Finds the structure of `doc`.
#[inline]
pub fn scan(kernel: Kernel, doc: &[u8], structure: &mut Structure) {
    struct Alone<'a>(&'a [u8], &'a mut Structure);
    impl Work for Alone<'_> {
        type Output = ();

        #[inline(always)]
        fn run(self, scan: impl Fn(&[u8], &mut Structure)) {
            scan(self.0, self.1);
        }
    }
    scan_in(kernel, Alone(doc, structure));
}

/// Work that scans documents, and goes over their blocks.
pub trait Work {
    /// What it results in.
    type Output;

    /// Does it; `scan` is [`scan()`] in the kernel's form. To be `#[inline(always)]`, so that all that is
    /// inlined into it has the kernel's instructions.
    fn run(self, scan: impl Fn(&[u8], &mut Structure)) -> Self::Output;
}

/// Runs `work`, compiled for the kernel's instructions.
#[inline]
pub fn scan_in<W: Work>(kernel: Kernel, work: W) -> W::Output {
    match kernel.isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the kernel proves that this machine has these instructions.
        Isa::Avx512Vbmi => unsafe { lanes::run(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the kernel proves that this machine has these instructions.
        Isa::Avx512 => unsafe { avx512::run(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the kernel proves that this machine has these instructions.
        Isa::Avx2 => unsafe { avx2::run(work) },
        Isa::Portable => work.run(portable::scan),
    }
}
