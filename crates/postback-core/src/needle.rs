//! A text looked for in stored bytes, before they are taken apart.

use memchr::memmem::Finder;

/// A text, ready to be looked for many times.
#[derive(Debug, Clone)]
pub(crate) struct Needle {
    whole: Finder<'static>,
    part: Finder<'static>,
}

impl Needle {
    pub(crate) fn new(text: &str) -> Needle {
        let finder = |text: &str| Finder::new(text).into_owned();
        let part = text.split([',', '=']).max_by_key(|part| part.len()).unwrap_or_default();
        Needle { whole: finder(text), part: finder(part) }
    }

    /// Whether the text is in these bytes.
    pub(crate) fn is_in(&self, bytes: &[u8]) -> bool {
        self.whole.find(bytes).is_some()
    }

    /// Whether these bytes may be values of which the text is put together with `,` and `=`, as lists and objects are.
    pub(crate) fn may_come_of(&self, bytes: &[u8]) -> bool {
        self.part.find(bytes).is_some()
    }
}
