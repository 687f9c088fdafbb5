//! Pages of a list, walked by cursors that stay right while the list grows.

use std::fmt::Display;
use std::str::FromStr;

use async_graphql::OutputType;
use async_graphql::connection::{Connection, Edge};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jobs::db::Slice;

use super::limit::DEFAULT_PAGE;
use crate::error::Fault;

/// The largest page.
pub(crate) const MAX_PAGE: i32 = jobs::db::MAX_PAGE as i32;

/// The version of the cursors' form: one of another version is refused in place of misread.
const VERSION: &str = "1";

/// The longest cursor that is looked at, in characters.
const MAX_CURSOR_CHARS: usize = 256;

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page<K> {
    /// How many.
    first: usize,
    /// The key of the last one seen.
    pub(crate) after: Option<K>,
    list: &'static str,
}

impl<K: FromStr + Display> Page<K> {
    /// Reads `first` and `after` of the list of that name.
    ///
    /// # Errors
    /// [`Fault::BadInput`] for a size out of range, or a cursor that is none of this list's.
    pub(crate) fn read(list: &'static str, first: Option<i32>, after: Option<&str>) -> Result<Self, Fault> {
        let first = first.map_or(Ok(usize::try_from(DEFAULT_PAGE).unwrap_or_default()), |n| match n {
            1..=MAX_PAGE => Ok(n.unsigned_abs() as usize),
            _ => Err(Fault::BadInput(format!("`first` is {n}; it must lie between 1 and {MAX_PAGE}"))),
        })?;
        let after = after.map(|cursor| key_of(list, cursor)).transpose()?;
        Ok(Self { first, after, list })
    }

    /// How many rows to fetch: one more than asked for, to know whether there is more.
    pub(crate) fn limit(&self) -> i64 {
        i64::try_from(self.first).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// The cursor of the place behind this key.
    pub(crate) fn cursor(&self, key: &K) -> String {
        cursor_of(self.list, key)
    }

    /// The page of these rows, of which there may be one too many, or fewer where they are large.
    pub(crate) fn of<R, T: OutputType>(
        &self,
        rows: impl Into<Slice<R>>,
        key: impl Fn(&R) -> K,
        node: impl Fn(R) -> T,
    ) -> Connection<String, T> {
        match self.try_of(rows, key, |row| Ok::<T, std::convert::Infallible>(node(row))) {
            Ok(page) => page,
            Err(never) => match never {},
        }
    }

    /// The page of these rows, each of which may turn out to be unreadable.
    ///
    /// # Errors
    /// That of the first unreadable row.
    pub(crate) fn try_of<R, T: OutputType, E>(
        &self,
        rows: impl Into<Slice<R>>,
        key: impl Fn(&R) -> K,
        node: impl Fn(R) -> Result<T, E>,
    ) -> Result<Connection<String, T>, E> {
        let Slice { mut rows, cut } = rows.into();
        let more = cut || rows.len() > self.first;
        rows.truncate(self.first);
        let mut page = Connection::new(self.after.is_some(), more);
        for row in rows {
            let cursor = cursor_of(self.list, &key(&row));
            page.edges.push(Edge::new(cursor, node(row)?));
        }
        Ok(page)
    }
}

fn cursor_of(list: &str, key: &impl Display) -> String {
    URL_SAFE_NO_PAD.encode(format!("{VERSION}:{list}:{key}"))
}

fn key_of<K: FromStr>(list: &str, cursor: &str) -> Result<K, Fault> {
    let bad = || Fault::BadInput("`after` is no cursor of this list; take one that it gave".into());
    if cursor.len() > MAX_CURSOR_CHARS {
        return Err(bad());
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?;
    let text = String::from_utf8(bytes).map_err(|_| bad())?;
    let mut parts = text.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(VERSION), Some(of), Some(key)) if of == list => key.parse().map_err(|_| bad()),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_serves_its_own_list_only() {
        let cursor = cursor_of("jobs", &42);
        assert_eq!(Page::<i64>::read("jobs", Some(5), Some(&cursor)).unwrap().after, Some(42));
        for other in
            [cursor_of("runs", &42), cursor_of("jobs", &"x"), "42".into(), "!".into(), "x".repeat(300)]
        {
            assert!(Page::<i64>::read("jobs", None, Some(&other)).is_err(), "{other}");
        }
    }

    #[test]
    fn a_page_has_between_one_and_a_hundred() {
        for bad in [-1, 0, 101, i32::MAX] {
            assert!(Page::<i64>::read("jobs", Some(bad), None).is_err(), "{bad}");
        }
        assert_eq!(Page::<i64>::read("jobs", Some(100), None).unwrap().limit(), 101);
    }

    #[test]
    fn the_one_too_many_tells_that_there_is_more() {
        let page = Page::<i64>::read("jobs", Some(2), None).unwrap();
        let full = page.of(vec![1i64, 2, 3], |n| *n, |n| n);
        assert_eq!((full.edges.len(), full.has_next_page), (2, true));
        let last = page.of(vec![1i64, 2], |n| *n, |n| n);
        assert_eq!((last.edges.len(), last.has_next_page), (2, false));
        let cut = page.of(Slice { rows: vec![1i64], cut: true }, |n| *n, |n| n);
        assert_eq!((cut.edges.len(), cut.has_next_page), (1, true));
    }
}
