//! File descriptors: how many this process may have open, and what it means to run out of them.

use std::io;

use postback_core::descriptors::soft_limit;

/// Kept for everything but partners: the questions for names above all, then Redis, the metrics page, files.
const OTHERS: u64 = 512;

/// How many connections to partners there may be at a time, by this process's soft limit; `None`: no limit is known.
pub(crate) fn for_partners() -> Option<(u64, usize)> {
    let soft = soft_limit()?;
    Some((soft, usize::try_from(partners_share(soft)).unwrap_or(usize::MAX)))
}

/// The soft limit that leaves room for so many connections to partners.
pub(crate) fn limit_for(partners: usize) -> u64 {
    partners as u64 + OTHERS.min(partners as u64)
}

fn partners_share(soft: u64) -> u64 {
    soft - OTHERS.min(soft / 2)
}

/// Whether an error tells that this box has run out of something, and nothing of the partner.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    /// From binding to `--bind`: all its ports are in use.
    const EADDRINUSE: i32 = 98;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | EADDRINUSE | ENOBUFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_a_large_limit_and_half_of_a_small_one_is_for_partners() {
        assert_eq!(partners_share(65_536), 65_024);
        assert_eq!(partners_share(128), 64);
        assert_eq!(partners_share(1), 1);
        for partners in [1, 60, 64, 100, 128, 512, 20_000] {
            assert_eq!(partners_share(limit_for(partners)), partners as u64);
        }
    }

    #[test]
    fn a_full_table_of_files_is_ours_and_a_refusal_is_not() {
        assert!(is_shortage(&io::Error::from_raw_os_error(24)));
        assert!(!is_shortage(&io::ErrorKind::ConnectionRefused.into()));
    }
}
