//! A record's values on their way into a row, whatever the database.

use uuid::Uuid;

use super::{GeoLocation, UnixMillis, VisitorHash};

/// A row that grows column by column. Texts may be borrowed until the row is sent (`'q`).
pub trait RowWriter<'q> {
    fn uuid(&mut self, value: Option<Uuid>);
    fn text(&mut self, value: Option<&'q str>);
    fn hash(&mut self, value: VisitorHash);
    fn integer(&mut self, value: Option<i32>);
    fn time(&mut self, value: UnixMillis);
}

/// A value that is one column or more. What `record!` declares calls it field by field, in the order of the columns.
pub(crate) trait Columns<'q> {
    fn write_to(&'q self, row: &mut impl RowWriter<'q>);
}

/// One row per type: the value, the row, and what is called.
macro_rules! columns {
    ($($type:ty: |$value:ident, $row:ident| $write:expr;)*) => { $(
        impl<'q> Columns<'q> for $type {
            fn write_to(&'q self, $row: &mut impl RowWriter<'q>) {
                let $value = self;
                $write;
            }
        }
    )* };
}

columns! {
    Uuid: |value, row| row.uuid(Some(*value));
    Option<Uuid>: |value, row| row.uuid(*value);
    &'q str: |value, row| row.text(Some(value));
    Option<&'q str>: |value, row| row.text(*value);
    Option<u16>: |value, row| row.integer(value.map(i32::from));
    UnixMillis: |value, row| row.time(*value);
    VisitorHash: |value, row| row.hash(*value);
    GeoLocation<&'q str>: |place, row| {
        row.text(place.country);
        row.text(place.city);
        row.text(place.region);
        row.text(place.continent);
        row.text(place.timezone);
    };
}
