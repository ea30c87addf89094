//! How many files and sockets this process may have open.

use std::fs;

/// This process's soft limit; `None`: no limit is known.
#[must_use]
pub fn soft_limit() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/limits").ok()?)
}

/// The soft limit of the line `Max open files  1024  524288  files` (proc(5)).
fn parse(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_first_number() {
        let check = |text: &str, expect| assert_eq!(parse(text), expect, "{text}");
        check(
            "Max cpu time  unlimited\nMax open files            1024      524288   files \n",
            Some(1024),
        );
        check("Max open files            unlimited      unlimited   files \n", None);
        check("", None);
        assert!(soft_limit().is_some_and(|limit| limit > 0));
    }
}
