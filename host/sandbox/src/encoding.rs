//! The numbers in the encoding of a guest's answer: verdicts, document operations, flags and pieces. They are defined in
//! `wit/rowmill-plugin.wit`.

/// The first word of a verdict.
pub(crate) mod verdict {
    pub(crate) const KEEP: u32 = 0;
    pub(crate) const DROP: u32 = 1;
    pub(crate) const EDIT: u32 = 2;
    pub(crate) const DOCUMENTS: u32 = 3;
    pub(crate) const FAIL: u32 = 4;
}

/// The first word of a document.
pub(crate) mod operation {
    pub(crate) const INDEX: u32 = 0;
    pub(crate) const MERGE: u32 = 1;
    pub(crate) const DELETE: u32 = 2;
    pub(crate) const PUT_ITEM: u32 = 3;
    pub(crate) const REMOVE_ITEM: u32 = 4;
}

/// Bits of the second word of a document.
pub(crate) mod flag {
    pub(crate) const INDEX: u32 = 1;
    pub(crate) const ID: u32 = 2;
    pub(crate) const ROUTING: u32 = 4;
}

/// The first word of a piece of a document's body.
pub(crate) mod piece {
    pub(crate) const COLUMN: u32 = 0;
    pub(crate) const COLUMN_AS: u32 = 1;
    pub(crate) const LITERAL: u32 = 2;
    pub(crate) const ALL_EXCEPT: u32 = 3;
    pub(crate) const BEGIN: u32 = 4;
    pub(crate) const END: u32 = 5;
}
